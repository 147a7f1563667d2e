package guest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/test/vm/wire"
)

// command is one that runs.
type command struct {
	id    uint32
	spec  wire.Command
	stdin chan []byte
	done  chan struct{}

	mu      sync.Mutex
	process *os.Process
}

// run runs the command to its end.
func (a *agent) run(c *command) wire.Exit {
	path, err := lookPath(c.spec)
	if err != nil {
		return wire.Exit{Error: err.Error()}
	}
	cmd := &exec.Cmd{Path: path, Args: c.spec.Args, Env: c.spec.Env, Dir: c.spec.Dir}
	var out output
	if cmd.Stdout, err = out.pipe(a.conn, wire.TypeStdout, c.id); err != nil {
		return wire.Exit{Error: err.Error()}
	}
	if cmd.Stderr, err = out.pipe(a.conn, wire.TypeStderr, c.id); err != nil {
		out.drain()
		return wire.Exit{Error: err.Error()}
	}
	defer out.drain()
	// A session of its own, so that a signal reaches what it started as well.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.spec.Stdin {
		pipe, err := cmd.StdinPipe()
		if err != nil {
			return wire.Exit{Error: err.Error()}
		}
		go a.feed(c, pipe)
	}
	err = cmd.Start()
	out.started()
	if err != nil {
		return wire.Exit{Error: err.Error()}
	}
	c.mu.Lock()
	c.process = cmd.Process
	c.mu.Unlock()
	err = cmd.Wait()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		return wire.Exit{Error: err.Error()}
	}
	wait, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if wait.Signaled() {
		return wire.Exit{Signal: int(wait.Signal())}
	}
	return wire.Exit{Code: wait.ExitStatus()}
}

// lookPath finds the program in the command's own PATH and folder, not the
// agent's.
func lookPath(spec wire.Command) (string, error) {
	if len(spec.Args) == 0 {
		return "", errors.New("no command given")
	}
	return findProgram(spec.Args[0], spec.Dir, spec.Env)
}

// feed passes the host's bytes on. A command that no longer reads is no error;
// its bytes are taken and dropped.
func (a *agent) feed(c *command, pipe io.WriteCloser) {
	defer pipe.Close()
	for {
		select {
		case data := <-c.stdin:
			if len(data) == 0 {
				return
			}
			_, err := pipe.Write(data)
			if a.conn.Send(wire.TypeStdinTaken, c.id, nil) != nil {
				return
			}
			if err != nil {
				_ = pipe.Close()
			}
		case <-c.done:
			return
		}
	}
}

// signal reaches the command's whole session's group.
func (c *command) signal(sig unix.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process != nil {
		_ = unix.Kill(-c.process.Pid, sig)
	}
}
