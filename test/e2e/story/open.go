package story

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/varve-project/varve/test/leak"
)

//go:embed manifests
var manifests embed.FS

// open makes the folders, writes the manifests and looks at the kernel.
func (s *story) open() error {
	for _, name := range []string{"varve", s.snapshotter(), "varve-cni", "varve-csi"} {
		if _, err := exec.LookPath(filepath.Join(s.Bin, name)); err != nil {
			return fmt.Errorf("%w; `make build` builds it", err)
		}
	}
	s.root, s.home = root(s.Dir), filepath.Join(s.Dir, "home")
	if err := s.writeManifests(); err != nil {
		return err
	}
	s.scope = leak.Scope{
		Paths:     []string{s.Dir, state},
		OwnMounts: true, OwnNetwork: true, OwnProcesses: true,
	}
	var err error
	if s.before, err = leak.Take(s.scope); err != nil {
		return err
	}
	s.say("This is a node of its own: new mount, network, PID, UTS and IPC namespaces. The machine's network")
	s.say("and mounts stay as they are; its disk, loop devices and cgroups are shared, and counted at the end.")
	s.say("varve is %s %s", s.varve(), quoted(s.flags()))
	return nil
}

func (s *story) writeManifests() error {
	if err := os.MkdirAll(s.home, 0o755); err != nil {
		return err
	}
	files, err := manifests.ReadDir("manifests")
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := manifests.ReadFile("manifests/" + file.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.home, file.Name()), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
