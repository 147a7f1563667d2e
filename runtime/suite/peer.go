package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/flock"
	"github.com/varve-project/varve/runtime/pod"
)

// marker in a daemon's environment says that Up started it, and not systemd:
// an Up that was killed has had no time to write the pid down.
const marker = "VARVE_STARTED_BY=up"

// peer is the process that listens on the daemon's socket, when Up started
// it. The kernel knows the listener of a socket (SO_PEERCRED, unix(7)).
func (d Daemon) peer() (pod.Process, error) {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(context.Background(), "unix", d.Address)
	if err != nil {
		return pod.Process{}, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return pod.Process{}, err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) { cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, inner); err != nil {
		return pod.Process{}, err
	}
	proc, err := pod.FindProcess(int(cred.Pid))
	if err != nil {
		return proc, err
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", cred.Pid))
	if err != nil {
		return proc, err
	}
	for _, v := range bytes.Split(environ, []byte{0}) {
		if string(v) == marker {
			return proc, nil
		}
	}
	return proc, fmt.Errorf("process %d was not started by `varve up`: %w", cred.Pid, pod.ErrNoProcess)
}

// starting tells whether a daemon holds the root already: one that an Up
// started that was killed before it saw it come up.
func (d Daemon) starting() bool {
	path := filepath.Join(d.Root, "lock")
	if _, err := os.Lstat(path); err != nil {
		return false
	}
	lock, err := flock.Try(path)
	if err != nil {
		return errors.Is(err, flock.ErrHeld)
	}
	_ = lock.Release()
	return false
}
