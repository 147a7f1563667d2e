package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/flock"
)

// socket is the gRPC socket: bound by us, or handed over by systemd.
type socket struct {
	net.Listener
	// path, lock and inode are set when the socket is our own.
	path  string
	lock  *flock.Lock
	inode fs.FileInfo
}

// listen takes systemd's socket when there is one, and sets the address to
// its path; else it binds the configured address.
func listen(ctx context.Context, common *Common) (*socket, error) {
	handed, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("socket activation: %w", err)
	}
	switch len(handed) {
	case 0:
		return bind(ctx, common.Address)
	case 1:
		unixSocket, ok := handed[0].(*net.UnixListener)
		if !ok {
			return nil, errors.New("socket activation: systemd handed over a file descriptor that is no listening unix stream socket; the .socket unit wants ListenStream=/a/path")
		}
		unixSocket.SetUnlinkOnClose(false)
		common.Address = unixSocket.Addr().String()
		return &socket{Listener: unixSocket}, nil
	}
	return nil, fmt.Errorf("socket activation: systemd handed over %d sockets, and one is served; leave one ListenStream= in the .socket unit", len(handed))
}

// bind listens on a unix socket of mode 0600. What a killed predecessor left
// there is replaced; a living twin's is not.
//
// Both guards are needed: the lock, because two that start at once may both
// find the same dead socket; the probe, because whoever answers there need
// not be ours.
func bind(ctx context.Context, path string) (_ *socket, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	s := &socket{path: path}
	s.lock, err = lockWithPID(path + ".lock")
	if errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("socket %s is in use: %w; stop that process, or give --address another path", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.lock.Release())
		}
	}()
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	// The kernel takes the mode of the new file from the socket's own inode
	// (unix_bind in net/unix/af_unix.c), so there is no moment in which it
	// is open to others, and the process's umask is left alone.
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var inner error
		err := raw.Control(func(fd uintptr) { inner = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, inner)
	}}
	s.Listener, err = config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	s.Listener.(*net.UnixListener).SetUnlinkOnClose(false)
	if s.inode, err = os.Lstat(path); err != nil {
		return nil, errors.Join(fmt.Errorf("socket: %w", err), s.Close())
	}
	return s, nil
}

// removeStale makes way at path, where nobody listens any more.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("socket %s: a file that is no socket is there; move it away, or give --address another path", path)
	}
	probe, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = probe.Close()
		return fmt.Errorf("socket %s is in use: another process answers there; stop it, or give --address another path", path)
	}
	// Only a refusal proves that nobody listens. EAGAIN, for one, is a
	// living process with a full queue.
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("socket %s: cannot tell whether another process uses it: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stale socket: %w", err)
	}
	return nil
}

// release removes the socket file, when it is ours and still the one that we
// made, and then the lock. systemd's socket stays, for the next start.
func (s *socket) release() error {
	if s.lock == nil {
		return nil
	}
	var err error
	if now, statErr := os.Lstat(s.path); statErr == nil && os.SameFile(now, s.inode) {
		err = os.Remove(s.path)
	}
	return errors.Join(err, s.lock.Release())
}
