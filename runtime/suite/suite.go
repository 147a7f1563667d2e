// Package suite starts and stops the suite's daemons on a machine without
// systemd: the snapshotter and the CSI driver of one Root and State. It knows
// them by name only (varve-NAME, with --root ROOT/NAME and --address
// STATE/NAME.sock) and by the gRPC health service that every daemon has.
//
// A daemon's pid is in STATE/NAME.pid with its start time, its output in
// STATE/NAME.log. Up and Down may be repeated, also after a crash.
package suite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/runtime/config"
	"github.com/varve-project/varve/runtime/pod"
)

const (
	startTimeout = 30 * time.Second
	// stopTimeout is above the daemons' own drain timeout.
	stopTimeout = 45 * time.Second
)

// Daemon is one daemon of the suite.
type Daemon struct {
	// Name is the short name: "overlay".
	Name string `json:"name"`
	// Root and Address are its --root and --address.
	Root    string `json:"root"`
	Address string `json:"address"`
	// PidFile and Log are where Up leaves its pid and its output.
	PidFile string `json:"pidFile"`
	Log     string `json:"log"`
}

// Daemons are those that a configuration needs and leaves to Up: one with an
// address of its own in the configuration is somebody else's.
func Daemons(c config.Config) []Daemon {
	var all []Daemon
	add := func(name, address string) {
		if address != filepath.Join(c.State, name+".sock") {
			return
		}
		all = append(all, Daemon{
			Name: name, Root: filepath.Join(c.Root, name), Address: address,
			PidFile: filepath.Join(c.State, name+".pid"), Log: filepath.Join(c.State, name+".log"),
		})
	}
	add(c.SnapshotterName()[len("varve-"):], c.SnapshotterSocket())
	add("csi", c.CSISocket())
	return all
}

// Up starts a daemon and waits until it is healthy. It reports false when it
// ran already.
func (d Daemon) Up(ctx context.Context) (started bool, err error) {
	if healthy(ctx, d.Address) == nil {
		return false, nil
	}
	if _, err := d.process(); err == nil {
		// It runs and is not healthy: it may still be starting.
		return false, d.wait(ctx, nil)
	}
	binary, err := d.binary()
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(d.PidFile), 0o755); err != nil {
		return false, fmt.Errorf("start varve-%s: %w", d.Name, err)
	}
	log, err := os.OpenFile(d.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return false, fmt.Errorf("start varve-%s: %w", d.Name, err)
	}
	defer log.Close()
	//nolint:noctx // the daemon outlives this process
	cmd := exec.Command(binary, "--root", d.Root, "--address", d.Address)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.Env = append(os.Environ(), marker)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	failpoint.Hit("runtime.up.daemon.before")
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("start varve-%s: %w", d.Name, err)
	}
	failpoint.Hit("runtime.up.daemon.after")
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	proc, err := pod.FindProcess(cmd.Process.Pid)
	if errors.Is(err, pod.ErrNoProcess) {
		return true, d.wait(ctx, ended) // it has ended; the log says why
	}
	if err == nil {
		err = os.WriteFile(d.PidFile, []byte(proc.String()+"\n"), 0o644)
	}
	if err != nil {
		return false, errors.Join(fmt.Errorf("start varve-%s: %w; see %s", d.Name, err, d.Log), cmd.Process.Kill())
	}
	return true, d.wait(ctx, ended)
}

// binary is beside the running one, or in PATH.
func (d Daemon) binary() (string, error) {
	name := "varve-" + d.Name
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("start %s: it is neither beside varve nor in PATH; `make build` or `make install` puts it there", name)
	}
	return path, nil
}

// wait waits until the daemon is healthy or has ended.
func (d Daemon) wait(ctx context.Context, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := healthy(ctx, d.Address)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("varve-%s is not healthy within %s: %w; see %s", d.Name, startTimeout, err, d.Log)
		case err := <-ended:
			if d.starting() {
				ended = nil // an earlier one was before us: wait for that
				continue
			}
			return errors.Join(fmt.Errorf("varve-%s ended at once (%w): %s; the whole story is in %s", d.Name, err, lastLine(d.Log), d.Log), d.forget())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Down stops a daemon and waits until it has ended. It reports false when it
// did not run, or was not started by Up.
func (d Daemon) Down(ctx context.Context) (stopped bool, err error) {
	proc, err := d.process()
	if err != nil {
		return false, d.forget()
	}
	fd, err := proc.Open()
	if err != nil {
		return false, d.forget()
	}
	defer unix.Close(fd)
	failpoint.Hit("runtime.down.daemon.before")
	if err := end(ctx, fd); err != nil {
		return false, fmt.Errorf("stop varve-%s, process %d: %w", d.Name, proc.Pid, err)
	}
	failpoint.Hit("runtime.down.daemon.after")
	return true, d.forget()
}

// forget removes the pid of a daemon that has ended; it was never written
// where Up was killed.
func (d Daemon) forget() error {
	if err := os.Remove(d.PidFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stop varve-%s: %w", d.Name, err)
	}
	return nil
}

// end asks a process to end, and kills it when it does not.
func end(ctx context.Context, fd int) error {
	deadline := time.Now().Add(stopTimeout)
	signal := unix.SIGTERM
	for {
		err := unix.PidfdSendSignal(fd, signal, nil, 0)
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		if err != nil {
			return err
		}
		for time.Now().Before(deadline) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if n, err := unix.Poll(fds, 50); err == nil && n > 0 {
				return nil
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if signal == unix.SIGKILL {
			return errors.New("it does not end after SIGKILL")
		}
		signal, deadline = unix.SIGKILL, time.Now().Add(10*time.Second)
	}
}

// process is the daemon that Up started, while it lives: the one written
// down, or where an Up was killed before it wrote, the one that listens.
func (d Daemon) process() (pod.Process, error) {
	data, err := os.ReadFile(d.PidFile)
	if err != nil {
		return d.peer()
	}
	want, err := pod.ParseProcess(string(data))
	if err != nil {
		return d.peer()
	}
	now, err := pod.FindProcess(want.Pid)
	if err != nil || now != want {
		return d.peer()
	}
	return now, nil
}
