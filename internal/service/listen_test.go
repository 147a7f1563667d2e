package service_test

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestRootAndSocketAreForTheOwnerOnly(t *testing.T) {
	for _, umask := range []string{"000", "022", "077"} {
		t.Run(umask, func(t *testing.T) {
			dir := folder(t)
			cmd := exec.Command("sh", "-c", `umask `+umask+`; exec "$@"`, "sh", os.Args[0],
				"--root", filepath.Join(dir, "root"), "--address", filepath.Join(dir, "run", "s.sock"))
			cmd.Env = command().Env
			p := launchCommand(t, filepath.Join(dir, "run"), cmd).ready()
			for path, want := range map[string]fs.FileMode{
				filepath.Join(dir, "root"): fs.ModeDir | 0o700, p.address: fs.ModeSocket | 0o600,
			} {
				info, err := os.Lstat(path)
				if err != nil || info.Mode() != want {
					t.Errorf("%s: %v %v, want %v", path, info.Mode(), err, want)
				}
			}
			if code := p.signal(syscall.SIGTERM).wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			mustExist(t, p.address, false)
		})
	}
}

func TestRootThatEverybodyCanWriteIsRefused(t *testing.T) {
	dir := folder(t)
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o777); err != nil {
		t.Fatal(err)
	}
	p := launch(t, dir)
	if code := p.wait(); code != 1 || !strings.Contains(p.out.String(), "chmod 700 "+root) {
		t.Errorf("exit %d, %s", code, p.out.String())
	}
}

func TestKilledPredecessorsSocketIsReplaced(t *testing.T) {
	dir := folder(t)
	for range 3 {
		p := launch(t, dir).ready()
		p.signal(syscall.SIGKILL).wait()
		mustExist(t, p.address, true)
	}
	launch(t, dir).ready()
}

func TestLivingTwinIsLeftAlone(t *testing.T) {
	dir := folder(t)
	first := launch(t, dir).ready()
	pid := fmt.Sprintf("process %d", first.cmd.Process.Pid)
	for name, root := range map[string]string{"same root": "root", "same address": "other"} {
		t.Run(name, func(t *testing.T) {
			second := launch(t, dir, "--root", filepath.Join(dir, root))
			if code := second.wait(); code != 1 || !strings.Contains(second.out.String(), pid) {
				t.Errorf("exit %d, want 1 and the name of %s: %s", code, pid, second.out.String())
			}
			first.ready()
		})
	}
	t.Run("same root, other address", func(t *testing.T) {
		second := launch(t, dir, "--address", filepath.Join(dir, "t.sock"))
		if code := second.wait(); code != 1 || !strings.Contains(second.out.String(), pid) {
			t.Errorf("exit %d: %s", code, second.out.String())
		}
		mustExist(t, filepath.Join(dir, "t.sock"), false)
	})
	t.Run("other root and address", func(t *testing.T) {
		other := folder(t)
		launch(t, other).ready()
		first.ready()
	})
}

// Of many that start at once over a dead socket, one wins and serves.
func TestRaceForADeadSocket(t *testing.T) {
	dir := folder(t)
	launch(t, dir).ready().signal(syscall.SIGKILL).wait()
	const racers = 8
	processes := make([]*process, racers)
	for i := range processes {
		processes[i] = launch(t, dir, "--root", filepath.Join(dir, fmt.Sprint("root", i)))
	}
	processes[0].eventually("all but one ended", func() bool {
		ended := 0
		for _, p := range processes {
			select {
			case <-p.ended:
				ended++
			default:
			}
		}
		return ended == racers-1
	})
	for _, p := range processes {
		select {
		case <-p.ended:
		default:
			p.ready()
		}
	}
}

func TestForeignOwnerOfThePathIsLeftAlone(t *testing.T) {
	t.Run("a process that answers", func(t *testing.T) {
		dir := folder(t)
		foreign, err := net.Listen("unix", filepath.Join(dir, "s.sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = foreign.Close() }()
		p := launch(t, dir)
		if code := p.wait(); code != 1 || !strings.Contains(p.out.String(), "another process answers") {
			t.Errorf("exit %d: %s", code, p.out.String())
		}
		mustExist(t, p.address, true)
	})
	t.Run("a plain file", func(t *testing.T) {
		dir := folder(t)
		path := filepath.Join(dir, "s.sock")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := launch(t, dir)
		if code := p.wait(); code != 1 || !strings.Contains(p.out.String(), "no socket") {
			t.Errorf("exit %d: %s", code, p.out.String())
		}
		if text, _ := os.ReadFile(path); string(text) != "precious" {
			t.Error("the file was touched")
		}
	})
}

// Someone moved our socket away and put another in its place: a clean stop
// removes its own, not that.
func TestStopRemovesOnlyItsOwnSocket(t *testing.T) {
	dir := folder(t)
	p := launch(t, dir).ready()
	if err := os.Remove(p.address); err != nil {
		t.Fatal(err)
	}
	foreign, err := net.Listen("unix", p.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = foreign.Close() }()
	if code := p.signal(syscall.SIGTERM).wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	mustExist(t, p.address, true)
}

func TestFailedStartLeavesNoSocket(t *testing.T) {
	dir := folder(t)
	p := launch(t, dir, "--config", write(t, "open = 'fail'\n"))
	if code := p.wait(); code != 1 || !strings.Contains(p.out.String(), "the disk is on fire") {
		t.Errorf("exit %d: %s", code, p.out.String())
	}
	mustExist(t, p.address, false)
	launch(t, dir).ready()
}

// A client that connects while the daemon still opens waits; it is not
// turned away.
func TestStopWhileOpening(t *testing.T) {
	dir := folder(t)
	p := launch(t, dir, "--config", write(t, "open = 'wait'\n"))
	p.eventually("the socket is bound", func() bool {
		conn, err := net.Dial("unix", p.address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	if code := p.signal(syscall.SIGTERM).wait(); code != 0 {
		t.Errorf("exit %d: %s", code, p.out.String())
	}
	mustExist(t, p.address, false)
}
