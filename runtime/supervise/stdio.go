package supervise

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/runtime/oci"
	"github.com/varve-project/varve/runtime/supervise/crilog"
)

// streams are a container's stdout and stderr: named pipes, so that the next
// supervisor finds them.
//
// The container's ends are open for reading and writing both. It never reads,
// but because it could, its writes meet a reader even when every supervisor
// is dead: no SIGPIPE, no EPIPE; it waits once the pipe is full, and goes on
// with the next supervisor. What is in a pipe whose container and supervisor
// are both dead is lost.
var streams = []string{"stdout", "stderr"}

// copying moves the output of one run into its log.
type copying struct {
	wg    sync.WaitGroup
	ends  []*os.File
	log   *crilog.Writer
	mu    sync.Mutex
	cause error
}

// openStdio makes the pipes, starts copying from them, and returns the ends
// for the container; the caller closes those once the container has them.
func (s *Supervisor) openStdio(container string, attempt int) (oci.Stdio, *copying, error) {
	failpoint.Hit("runtime.run.stdio.before")
	c, err := s.copyOutput(container, attempt)
	if err != nil {
		return oci.Stdio{}, nil, err
	}
	failpoint.Hit("runtime.run.stdio.after")
	var ends []*os.File
	for _, name := range streams {
		path := filepath.Join(s.paths.Bundle(container), name)
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			for _, f := range ends {
				_ = f.Close()
			}
			return oci.Stdio{}, nil, errors.Join(fmt.Errorf("container %q: open %s: %w", container, path, err), c.abort())
		}
		ends = append(ends, os.NewFile(uintptr(fd), path))
	}
	c.start()
	return oci.Stdio{Out: ends[0], Err: ends[1]}, c, nil
}

func closeStdio(io oci.Stdio) error { return errors.Join(io.Out.Close(), io.Err.Close()) }

// adoptStdio goes on copying for a container that runs already.
func (s *Supervisor) adoptStdio(container string, attempt int) (*copying, error) {
	c, err := s.copyOutput(container, attempt)
	if err == nil {
		c.start()
	}
	return c, err
}

// copyOutput opens the log and the reading ends.
func (s *Supervisor) copyOutput(container string, attempt int) (*copying, error) {
	if err := os.MkdirAll(s.paths.Logs(container), 0o700); err != nil {
		return nil, fmt.Errorf("container %q: logs: %w", container, err)
	}
	log, err := crilog.Open(s.paths.Log(container, attempt))
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", container, err)
	}
	c := &copying{log: log}
	for _, name := range streams {
		path := filepath.Join(s.paths.Bundle(container), name)
		if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, errors.Join(fmt.Errorf("container %q: make pipe %s: %w", container, path, err), c.abort())
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("container %q: open %s: %w", container, path, err), c.abort())
		}
		c.ends = append(c.ends, os.NewFile(uintptr(fd), path))
	}
	return c, nil
}

// start begins to copy. The container's ends are open by then, or the pipe
// would seem at its end.
func (c *copying) start() {
	for i, name := range streams {
		c.wg.Add(1)
		go func() {
			defer c.wg.Done()
			if err := c.log.Copy(name, c.ends[i]); err != nil && !errors.Is(err, os.ErrClosed) {
				c.mu.Lock()
				c.cause = errors.Join(c.cause, err)
				c.mu.Unlock()
			}
		}()
	}
}

// finish waits until both pipes have ended, at most for a moment after the
// container did, and closes the log.
func (c *copying) finish() error {
	if c == nil {
		return nil
	}
	ended := make(chan struct{})
	go func() { c.wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-afterExit():
		// Somebody else has the container's output open.
		for _, f := range c.ends {
			_ = f.Close()
		}
		<-ended
	}
	return errors.Join(c.cause, c.abort())
}

func (c *copying) abort() error {
	var errs []error
	for _, f := range c.ends {
		if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, c.log.Close())...)
}
