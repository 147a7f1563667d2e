// Package proc runs the daemons that a benchmark or the demo measures: one
// log file each, ready when their socket answers, stopped by their own PID.
package proc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Daemon is a started process. Stop it.
type Daemon struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// readyTime bounds how long a daemon may take to listen, and stopTime how long
// it may take to end after SIGTERM.
const (
	readyTime = 30 * time.Second
	stopTime  = 15 * time.Second
)

// Start starts args with their output in the file log and returns once socket
// accepts a connection.
func Start(ctx context.Context, log, socket string, args ...string) (*Daemon, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	d := &Daemon{cmd: exec.Command(args[0], args[1:]...), log: log, ended: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = out, out
	// Ctrl-C is for the benchmark, which stops its daemons in order.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	go func() {
		_ = d.cmd.Wait()
		close(d.ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	if err := d.awaitSocket(ctx, socket); err != nil {
		return nil, errors.Join(err, d.Stop())
	}
	return d, nil
}

func (d *Daemon) awaitSocket(ctx context.Context, socket string) error {
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-d.ended:
			return fmt.Errorf("%s ended before it listened at %s: %s", d.cmd.Path, socket, d.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: nothing listens at %s: %s", d.cmd.Path, ctx.Err(), socket, d.lastWords())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop asks the process to end and kills it if it does not. Stopping one that
// has ended is no error.
func (d *Daemon) Stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
		return nil
	case <-time.After(stopTime):
		_ = d.cmd.Process.Kill()
		<-d.ended
		return fmt.Errorf("%s did not end within %v of SIGTERM and was killed: %s", d.cmd.Path, stopTime, d.lastWords())
	}
}

// Kill ends the daemon with SIGKILL, as a crash would, and returns when it is
// gone. A Stop after it is no error.
func (d *Daemon) Kill() error {
	if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", d.cmd.Args[0], err)
	}
	<-d.ended
	return nil
}

// lastWords is the end of the daemon's log: the file itself may be gone by the
// time somebody reads the error.
func (d *Daemon) lastWords() string {
	const enough = 1000
	text, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-enough):]))
}
