package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/varve-project/varve/test/vm/wire"
)

// Cmd is a command for a guest.
type Cmd struct {
	// Args are the program, sought in the command's PATH, and its arguments.
	Args []string
	// Env is its environment; nil is this process's.
	Env []string
	// Dir is its working directory; empty is this process's.
	Dir string
	// Stdin is what it reads; nil is an empty input. Run may end before it has
	// been read to its end, and with one Read of it still under way.
	Stdin io.Reader
	// Stdout and Stderr get what it writes; nil drops it. While a Write waits,
	// so does the output of every command in the machine. One that fails ends
	// the output, not the command.
	Stdout, Stderr io.Writer
	// Signals are sent to the command and what it started in its process
	// group; nil is none.
	Signals <-chan syscall.Signal
}

// Exit is how a command ended.
type Exit struct {
	// Code is its exit status, or 128 and the signal's number as in a shell.
	Code int
	// Signal is what killed it, or 0.
	Signal syscall.Signal
}

// Err is nil for an exit status of 0.
func (e Exit) Err() error {
	switch {
	case e.Signal != 0:
		return fmt.Errorf("signal: %v", e.Signal)
	case e.Code != 0:
		return fmt.Errorf("exit status %d", e.Code)
	}
	return nil
}

// run is one command that runs.
type run struct {
	stdout, stderr io.Writer
	taken          chan struct{} // a frame of input was taken
	exit           chan wire.Exit
}

// take handles one frame from the guest.
func (r *run) take(frame wire.Frame) {
	switch frame.Type {
	case wire.TypeStdout:
		r.stdout = write(r.stdout, frame.Data)
	case wire.TypeStderr:
		r.stderr = write(r.stderr, frame.Data)
	case wire.TypeStdinTaken:
		select {
		case r.taken <- struct{}{}:
		default:
		}
	case wire.TypeExit:
		var exit wire.Exit
		if err := frame.Decode(&exit); err != nil {
			exit.Error = err.Error()
		}
		r.exit <- exit
	}
}

// write returns the writer for what comes next: none after a failure.
func write(w io.Writer, p []byte) io.Writer {
	if w == nil {
		return nil
	}
	if _, err := w.Write(p); err != nil {
		return nil
	}
	return w
}

func (s *session) run(ctx context.Context, cmd Cmd) (Exit, error) {
	if len(cmd.Args) == 0 {
		return Exit{}, errors.New("no command given")
	}
	spec := wire.Command{Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir, Stdin: cmd.Stdin != nil}
	if spec.Env == nil {
		spec.Env = os.Environ()
	}
	if spec.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return Exit{}, err
		}
		spec.Dir = dir
	}
	r := &run{stdout: cmd.Stdout, stderr: cmd.Stderr, taken: make(chan struct{}, 1), exit: make(chan wire.Exit, 1)}
	id := s.register(r)
	if err := s.conn.SendJSON(wire.TypeStart, id, spec); err != nil {
		return s.wait(ctx, r, id, nil)
	}
	over := make(chan struct{})
	if cmd.Stdin != nil {
		go s.feed(cmd.Stdin, r, id, over)
	}
	defer close(over)
	return s.wait(ctx, r, id, cmd.Signals)
}

func (s *session) register(r *run) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextID++
	s.running[s.nextID] = r
	return s.nextID
}

// wait waits for the command's end, the machine's or the context's.
func (s *session) wait(ctx context.Context, r *run, id uint32, signals <-chan syscall.Signal) (Exit, error) {
	for {
		select {
		case exit := <-r.exit:
			return result(exit)
		case sig := <-signals:
			// A machine that is gone is noticed below.
			_ = s.conn.Send(wire.TypeSignal, id, []byte{byte(sig)})
		case <-s.ended:
			select {
			case exit := <-r.exit: // it came just before
				return result(exit)
			default:
				return Exit{}, s.failure()
			}
		case <-ctx.Done():
			s.giveUp(ctx, id)
			return Exit{}, s.failure()
		}
	}
}

func result(exit wire.Exit) (Exit, error) {
	if exit.Error != "" {
		return Exit{}, fmt.Errorf("in the guest: %s", exit.Error)
	}
	if exit.Signal != 0 {
		return Exit{Code: 128 + exit.Signal, Signal: syscall.Signal(exit.Signal)}, nil
	}
	return Exit{Code: exit.Code}, nil
}

// giveUp ends the machine because the context did. At a deadline the guest may
// tell first where it hangs: a Go program by SIGQUIT on its standard error,
// the kernel's blocked tasks on the console.
func (s *session) giveUp(ctx context.Context, id uint32) {
	cause := context.Cause(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		_ = s.conn.Send(wire.TypeTasks, 0, nil)
		_ = s.conn.Send(wire.TypeSignal, id, []byte{byte(syscall.SIGQUIT)})
		select {
		case <-time.After(dyingWait):
		case <-s.ended:
		}
	}
	s.end(fmt.Errorf("%w: %w", ErrTimeout, cause))
}

// feed sends the command its input, a frame at a time.
func (s *session) feed(stdin io.Reader, r *run, id uint32, over <-chan struct{}) {
	buf := make([]byte, wire.Chunk)
	for {
		n, err := stdin.Read(buf)
		if n > 0 {
			if s.conn.Send(wire.TypeStdin, id, buf[:n]) != nil {
				return
			}
			select {
			case <-r.taken:
			case <-over:
				return
			}
		}
		if err != nil {
			_ = s.conn.Send(wire.TypeStdin, id, nil)
			return
		}
	}
}
