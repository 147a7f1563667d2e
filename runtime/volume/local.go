package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/internal/failpoint"
)

// EmptyDir makes a pod's scratch folder at path, open to every user of its
// containers as Kubernetes has it, on a tmpfs for medium Memory. It may be
// repeated.
func EmptyDir(path string, e *corev1.EmptyDirVolumeSource) error {
	failpoint.Hit("runtime.run.emptydir.before")
	if err := os.MkdirAll(path, 0o777); err != nil {
		return fmt.Errorf("emptyDir: %w", err)
	}
	if e.Medium == corev1.StorageMediumMemory && !IsMount(path) {
		options := "mode=0777"
		if e.SizeLimit != nil {
			options += fmt.Sprintf(",size=%d", e.SizeLimit.Value())
		}
		if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
			return fmt.Errorf("emptyDir: mount tmpfs at %s: %w", path, err)
		}
	}
	// MkdirAll is subject to the umask.
	if err := os.Chmod(path, 0o777); err != nil {
		return fmt.Errorf("emptyDir: %w", err)
	}
	failpoint.Hit("runtime.run.emptydir.after")
	return nil
}

// RemoveEmptyDir takes a scratch folder away. It may be repeated.
func RemoveEmptyDir(path string) error {
	failpoint.Hit("runtime.rm.emptydir.before")
	for IsMount(path) {
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("emptyDir: unmount %s: %w", path, err)
		}
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("emptyDir: %w", err)
	}
	failpoint.Hit("runtime.rm.emptydir.after")
	return nil
}

// IsMount tells whether something is mounted at path.
func IsMount(path string) bool {
	var here, up unix.Stat_t
	if unix.Lstat(path, &here) != nil || unix.Lstat(filepath.Dir(path), &up) != nil {
		return false
	}
	return here.Dev != up.Dev
}

// HostPath checks a hostPath volume by its type, and makes what the two
// "OrCreate" types ask for.
func HostPath(h *corev1.HostPathVolumeSource) error {
	kind := *h.Type
	info, err := os.Stat(h.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeHostPath(h.Path, kind)
	}
	if err != nil {
		return fmt.Errorf("hostPath: %w", err)
	}
	mode := info.Mode()
	right := map[corev1.HostPathType]bool{
		corev1.HostPathUnset:             true,
		corev1.HostPathDirectoryOrCreate: mode.IsDir(),
		corev1.HostPathDirectory:         mode.IsDir(),
		corev1.HostPathFileOrCreate:      mode.IsRegular(),
		corev1.HostPathFile:              mode.IsRegular(),
		corev1.HostPathSocket:            mode&fs.ModeSocket != 0,
		corev1.HostPathCharDev:           mode&fs.ModeCharDevice != 0,
		corev1.HostPathBlockDev:          mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0,
	}[kind]
	if !right {
		return fmt.Errorf("hostPath %s is no %s, it is %s", h.Path, kind, mode.Type())
	}
	return nil
}

func makeHostPath(path string, kind corev1.HostPathType) error {
	failpoint.Hit("runtime.run.hostpath.before")
	defer failpoint.Hit("runtime.run.hostpath.after")
	switch kind {
	case corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate:
		// Unset checks nothing in Kubernetes, and the runtime below then
		// makes the folder.
		if err := os.MkdirAll(path, 0o755); err != nil {
			return fmt.Errorf("hostPath: %w", err)
		}
		return nil
	case corev1.HostPathFileOrCreate:
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil {
			return fmt.Errorf("hostPath: %w", err)
		}
		return f.Close()
	}
	return fmt.Errorf("hostPath %s: there is no such %s", path, kind)
}
