package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/runtime/config"
	"github.com/varve-project/varve/runtime/pod"
)

// Command is the hidden sub-command of `varve` that becomes a supervisor.
const Command = "supervise"

// socketFD is the one file that a supervisor inherits beside its stdio: a
// socket by which it is given a pod and its lock, and into which it then
// writes the pod's journal entries for as long as somebody listens.
const socketFD = 3

// Spare is a supervisor without a pod: a process of its own, in a session of
// its own, that waits to be given one. A command starts it first of all, so
// that it is ready by the time the pod's record is written.
type Spare struct {
	cfg    config.Config
	socket *os.File
}

// NewSpare starts a supervisor. It ends when Close is called before Take.
func NewSpare(cfg config.Config) (*Spare, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start a supervisor: find the own binary: %w", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("start a supervisor: %w", err)
	}
	// Ours for Go's poller, so that Close ends a Read.
	if err := unix.SetNonblock(pair[0], true); err != nil {
		return nil, fmt.Errorf("start a supervisor: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "supervisor"), os.NewFile(uintptr(pair[1]), "supervisor")
	//nolint:noctx // the supervisor outlives this process
	cmd := exec.Command(self, "--root", cfg.Root, "--state", cfg.State, Command)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = errors.Join(cmd.Start(), theirs.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a supervisor: %w", err), ours.Close())
	}
	return &Spare{cfg, ours}, cmd.Process.Release()
}

// Close ends a supervisor that was given no pod.
func (s *Spare) Close() error {
	err := s.socket.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil // taken
	}
	return err
}

// Take gives the supervisor a pod and its lock, which the caller holds and
// loses. It returns the stream of the pod's journal entries; the supervisor
// does not mind when nobody reads it.
func (s *Spare) Take(rec *pod.Record, lock *pod.Lock) (io.ReadCloser, error) {
	rights := unix.UnixRights(int(lock.File().Fd()))
	failpoint.Hit("runtime.run.spawn.before")
	err := unix.Sendmsg(int(s.socket.Fd()), []byte(rec.Namespace+"/"+rec.Name+"\n"), rights, nil, 0)
	failpoint.Hit("runtime.run.spawn.after")
	if err != nil {
		err = fmt.Errorf("pod %s: hand it to its supervisor: %w", rec.Key, err)
		return nil, errors.Join(err, lock.Release(), s.socket.Close())
	}
	fd, err := unix.FcntlInt(s.socket.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pod %s: %w", rec.Key, err), lock.Release(), s.socket.Close())
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("pod %s: %w", rec.Key, err)
	}
	return os.NewFile(uintptr(fd), "supervisor"), errors.Join(lock.Release(), s.socket.Close())
}

// Spawn starts the supervisor of a pod: NewSpare and Take.
func Spawn(cfg config.Config, rec *pod.Record, lock *pod.Lock) (io.ReadCloser, error) {
	s, err := NewSpare(cfg)
	if err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	return s.Take(rec, lock)
}

// Main is what the hidden sub-command does: it waits for a pod, and runs it.
func Main(ctx context.Context, cfg config.Config) error {
	syscall.CloseOnExec(socketFD)
	// SIGTERM, which a shutdown sends to all, ends a supervisor at once and
	// leaves its pod alone. `varve pod stop` ends both.
	signal.Reset()
	key, lockFD, err := receive()
	if err != nil || key == "" {
		return err
	}
	k, err := pod.ParseKey(key)
	if err != nil {
		return err
	}
	store := pod.NewStore(cfg)
	lock, err := store.InheritLock(k, uintptr(lockFD))
	if err != nil {
		return err
	}
	self, err := pod.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	if err := lock.SetHolder(self); err != nil {
		return err
	}
	rec, err := store.Get(k)
	if err != nil {
		return errors.Join(err, lock.Release())
	}
	if err := logTo(store.Paths(rec).SupervisorLog()); err != nil {
		return errors.Join(err, lock.Release())
	}
	out := json.NewEncoder(os.NewFile(socketFD, "progress"))
	// Whoever started us may be gone: its loss is not ours.
	listen := func(e pod.Entry) { _ = out.Encode(e) }
	return errors.Join(withLock(ctx, cfg, rec, listen, (*Supervisor).Run), drop(store, rec, lock))
}

// receive waits for the key of a pod and the file of its lock. The key is
// empty when the other end was closed without.
func receive() (key string, lockFD int, err error) {
	buf, oob := make([]byte, 1024), make([]byte, unix.CmsgSpace(4))
	var n, oobn int
	for {
		n, oobn, _, _, err = unix.Recvmsg(socketFD, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return "", 0, fmt.Errorf("wait for a pod: %w", err)
	}
	if n == 0 {
		return "", 0, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return "", 0, fmt.Errorf("wait for a pod: %w", err)
	}
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil && len(fds) == 1 {
			return string(buf[:n-1]), fds[0], nil
		}
	}
	return "", 0, errors.New("wait for a pod: no lock came with it")
}

// logTo makes a file the process's stdout and stderr.
func logTo(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("supervisor's log: %w", err)
	}
	for _, fd := range []int{1, 2} {
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			return errors.Join(fmt.Errorf("supervisor's log: %w", err), f.Close())
		}
	}
	return f.Close()
}

// withLock opens a supervisor, runs f, and closes it.
func withLock(ctx context.Context, cfg config.Config, rec *pod.Record, listen func(pod.Entry), f func(*Supervisor, context.Context) error) error {
	s, err := Open(ctx, cfg, rec, listen)
	if err != nil {
		return err
	}
	return errors.Join(f(s, ctx), s.Close())
}

// drop lets go of a pod's lock, for ever when the pod is no more.
func drop(store *pod.Store, rec *pod.Record, lock *pod.Lock) error {
	if _, err := store.Get(rec.Key); errors.Is(err, pod.ErrNotFound) {
		return lock.Forget()
	}
	return lock.Release()
}
