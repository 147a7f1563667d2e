package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/runtime/config"
	"github.com/varve-project/varve/runtime/pod"
)

// Command is the hidden sub-command of `varve` that becomes a supervisor.
const Command = "supervise"

// The files a supervisor inherits beside its stdio.
const (
	lockFD     = 3
	progressFD = 4
)

// Spawn starts the supervisor of a pod as a process of its own, in a session
// of its own, and hands it the lock, which the caller holds and loses. It
// returns a stream of the pod's journal entries as they are written; the
// supervisor does not mind when nobody reads it.
func Spawn(cfg config.Config, rec *pod.Record, lock *pod.Lock) (io.ReadCloser, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pod %s: find the own binary: %w", rec.Key, err), lock.Release())
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pod %s: %w", rec.Key, err), lock.Release())
	}
	log, err := os.OpenFile(pod.PathsOf(cfg, rec.Key, rec.UID).SupervisorLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pod %s: %w", rec.Key, err), read.Close(), write.Close(), lock.Release())
	}
	cmd := exec.Command(self, "--root", cfg.Root, "--state", cfg.State, Command, rec.Namespace+"/"+rec.Name)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock.File(), write}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	failpoint.Hit("runtime.run.spawn.before")
	err = cmd.Start()
	failpoint.Hit("runtime.run.spawn.after")
	err = errors.Join(err, log.Close(), write.Close(), lock.Release())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pod %s: start its supervisor: %w", rec.Key, err), read.Close())
	}
	// It is init's child once this process has ended, and ours until then.
	return read, cmd.Process.Release()
}

// Main is what the hidden sub-command does: it takes the lock that it
// inherited, or the one that is free, and runs the pod.
func Main(ctx context.Context, cfg config.Config, key pod.Key) error {
	store := pod.NewStore(cfg)
	lock, listen, err := inherit(store, key)
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
	rec, err := store.Get(key)
	if err != nil {
		return errors.Join(err, lock.Release())
	}
	return errors.Join(withLock(ctx, cfg, rec, listen, (*Supervisor).Run), drop(store, rec, lock))
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

func inherit(store *pod.Store, key pod.Key) (*pod.Lock, func(pod.Entry), error) {
	lock, err := store.InheritLock(key, lockFD)
	if err != nil {
		return nil, nil, err
	}
	syscall.CloseOnExec(progressFD)
	progress := os.NewFile(progressFD, "progress")
	if progress == nil {
		return lock, nil, nil
	}
	out := json.NewEncoder(progress)
	// Whoever started us may be gone: its loss is not ours.
	return lock, func(e pod.Entry) { _ = out.Encode(e) }, nil
}
