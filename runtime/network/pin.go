package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/failpoint"
)

// Pins say where the namespaces of a pod are pinned.
type Pins struct{ Net, IPC, UTS string }

func (p Pins) each() []pin {
	return []pin{
		{p.Net, "net", unix.CLONE_NEWNET},
		{p.IPC, "ipc", unix.CLONE_NEWIPC},
		{p.UTS, "uts", unix.CLONE_NEWUTS},
	}
}

type pin struct {
	path, kind string
	flag       int
}

// Pin makes new namespaces, sets the host name, brings the loopback link up,
// and binds each namespace to its file. Namespaces that are pinned already
// are used as they are; half a set, which a crash can leave, is made anew.
//
// The namespaces are bound from the thread that made them. A path through
// /proc/PID would name another process's namespace once the pid is used
// again.
func Pin(p Pins, hostname string) error {
	if p.pinned() {
		return nil
	}
	if err := Unpin(p); err != nil {
		return err
	}
	flags := 0
	for _, pin := range p.each() {
		flags |= pin.flag
		if err := os.MkdirAll(filepath.Dir(pin.path), 0o700); err != nil {
			return fmt.Errorf("pin %s namespace: %w", pin.kind, err)
		}
		f, err := os.OpenFile(pin.path, os.O_CREATE|os.O_RDONLY, 0o400)
		if err != nil {
			return fmt.Errorf("pin %s namespace: %w", pin.kind, err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("pin %s namespace: %w", pin.kind, err)
		}
	}
	if err := onSpareThread(func() error { return makeAndBind(p, flags, hostname) }); err != nil {
		return errors.Join(err, Unpin(p))
	}
	return nil
}

// onSpareThread runs f on a thread that ends with it, whatever f does to it.
// The process's first thread is never taken: it cannot end, and what others
// see of the process (/proc/self, /proc/PID/ns) is that thread's.
func onSpareThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// Held until f is done, so that f runs on another one.
			defer runtime.UnlockOSThread()
			done <- onSpareThread(f)
			return
		}
		done <- f() // never unlocked: the thread ends here
	}()
	return <-done
}

func makeAndBind(p Pins, flags int, hostname string) error {
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("set host name %q: %w", hostname, err)
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	for _, pin := range p.each() {
		failpoint.Hit("runtime.run.pin-" + pin.kind + ".before")
		if err := unix.Mount("/proc/thread-self/ns/"+pin.kind, pin.path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("pin %s namespace at %s: %w", pin.kind, pin.path, err)
		}
		failpoint.Hit("runtime.run.pin-" + pin.kind + ".after")
	}
	return nil
}

// loopbackUp is the runtime's duty: CNI leaves the loopback link to a plug-in
// of its own, whose exec this saves.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback link: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring loopback link up: %w", err)
	}
	return nil
}

// pinned tells whether each file has a namespace bound over it.
func (p Pins) pinned() bool {
	for _, pin := range p.each() {
		if !isNamespace(pin.path) {
			return false
		}
	}
	return true
}

// isNamespace tells whether path is a file of nsfs.
func isNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// Unpin lets go of the namespaces and removes their files; a namespace ends
// with its last process. What is absent is no error.
func Unpin(p Pins) error {
	var errs []error
	for _, pin := range p.each() {
		errs = append(errs, unpin(pin.path))
	}
	return errors.Join(errs...)
}

func unpin(path string) error {
	// Several mounts may lie one over the other when a crash came between
	// two tries.
	for isNamespace(path) {
		failpoint.Hit("runtime.rm.unpin.before")
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unpin %s: %w", path, err)
		}
		failpoint.Hit("runtime.rm.unpin.after")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unpin: %w", err)
	}
	return nil
}
