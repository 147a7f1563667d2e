package crilog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ReadOptions say what of a log is wanted.
type ReadOptions struct {
	// Stdout and Stderr take the two streams.
	Stdout, Stderr io.Writer
	// Timestamps prefixes every line with its time.
	Timestamps bool
	// Follow goes on when the end is reached, until Ended says so.
	Follow bool
	// Ended tells that nothing more will be written.
	Ended func() bool
}

// poll is how often a follower looks for more.
const poll = 100 * time.Millisecond

// Read writes a whole log, its rotated files first.
func Read(ctx context.Context, path string, o ReadOptions) error {
	old, err := Rotated(path)
	if err != nil {
		return err
	}
	for _, p := range old {
		if err := readFile(p, o); err != nil {
			return err
		}
	}
	if !o.Follow {
		return readFile(path, o)
	}
	return follow(ctx, path, o)
}

func readFile(path string, o ReadOptions) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // rotated away meanwhile
	}
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	defer f.Close()
	_, err = o.lines(bufio.NewReader(f), nil)
	return err
}

// follow reads to the end and on, through rotations: the file that was read
// is read to its end before the next one is opened.
func follow(ctx context.Context, path string, o ReadOptions) error {
	f, err := openWait(ctx, path, o)
	if f == nil || err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	in, rest := bufio.NewReader(f), []byte(nil)
	for {
		ended := o.Ended()
		rotated := replaced(f, path)
		if rest, err = o.lines(in, rest); err != nil {
			return err
		}
		if rotated {
			next, err := openWait(ctx, path, o)
			if next == nil || err != nil {
				return err
			}
			_ = f.Close()
			f, in, rest = next, bufio.NewReader(next), nil
			continue
		}
		if ended {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(poll):
		}
	}
}

// openWait opens the log, waiting for it to appear; nil when it never will.
func openWait(ctx context.Context, path string, o ReadOptions) (*os.File, error) {
	for {
		ended := o.Ended()
		f, err := os.Open(path)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read log: %w", err)
		}
		if ended {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(poll):
		}
	}
}

// replaced tells whether path names another file than f by now.
func replaced(f *os.File, path string) bool {
	var here, there unix.Stat_t
	if unix.Fstat(int(f.Fd()), &here) != nil {
		return false
	}
	return unix.Stat(path, &there) != nil || here.Ino != there.Ino
}

// lines writes every whole line that in has and returns the rest.
func (o ReadOptions) lines(in *bufio.Reader, rest []byte) ([]byte, error) {
	for {
		part, err := in.ReadBytes('\n')
		rest = append(rest, part...)
		if errors.Is(err, io.EOF) {
			return rest, nil
		}
		if err != nil {
			return rest, fmt.Errorf("read log: %w", err)
		}
		if err := o.line(rest); err != nil {
			return nil, err
		}
		rest = rest[:0]
	}
}

// line writes the text of one line of the log. A line that is not of the
// format is what a crash left, and is skipped.
func (o ReadOptions) line(line []byte) error {
	fields := bytes.SplitN(bytes.TrimSuffix(line, []byte{'\n'}), []byte{' '}, 4)
	if len(fields) != 4 {
		return nil
	}
	out := o.Stdout
	if string(fields[1]) == "stderr" {
		out = o.Stderr
	}
	text := fields[3]
	if o.Timestamps {
		text = append(append(append([]byte(nil), fields[0]...), ' '), text...)
	}
	if string(fields[2]) == "F" {
		text = append(append([]byte(nil), text...), '\n')
	}
	_, err := out.Write(text)
	return err
}
