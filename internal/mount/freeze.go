package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	fifreeze = 0xc0045877 // FIFREEZE, uapi linux/fs.h
	fithaw   = 0xc0045878 // FITHAW
)

// maxFrozen is how long a guard lets a file system stay frozen, whatever its
// freezer does.
const maxFrozen = 30 * time.Second

// ErrThawed means that the guard thawed a file system before its freezer was
// done, because that took too long; what was copied meanwhile is worthless.
var ErrThawed = errors.New("file system was thawed too early")

// Freezer freezes file systems so that their devices hold a consistent image.
//
// A freezer that dies leaves every writer hanging; so each freeze has a guard,
// a process of its own, which thaws when the freezer is gone or takes longer
// than 30 seconds.
type Freezer struct {
	// Guard is the command that runs GuardMain: the program itself with a
	// word that its main recognises.
	Guard []string
}

// Freeze stops all writes to the file system mounted at point and flushes what
// is under way; readers go on. The returned thaw ends that; it is called once,
// and answers ErrThawed when the guard came first.
func (z Freezer) Freeze(point string) (thaw func() error, err error) {
	dir, err := os.Open(point)
	if err != nil {
		return nil, fmt.Errorf("freeze: %w", err)
	}
	fail := func(err error) (func() error, error) {
		return nil, errors.Join(fmt.Errorf("freeze %s: %w", point, err), dir.Close())
	}
	// Most of the data goes out here, while writers still run.
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fail(err)
	}
	release, err := z.guard(dir)
	if err != nil {
		return fail(err)
	}
	if err := ioctl(dir, fifreeze, nil); err != nil {
		release()
		return fail(err)
	}
	return func() error {
		err := ioctl(dir, fithaw, nil)
		if errors.Is(err, unix.EINVAL) { // it was not frozen
			err = ErrThawed
		}
		release()
		if err != nil {
			err = fmt.Errorf("thaw %s: %w", point, err)
		}
		return errors.Join(err, dir.Close())
	}, nil
}

// guard starts the guard process over dir. It exists before the freeze, and
// needs nothing from the file system afterwards but the descriptor.
func (z Freezer) guard(dir *os.File) (release func(), err error) {
	if len(z.Guard) == 0 {
		return nil, errors.New("no command for a guard: nothing would thaw it after a crash")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	// No caller's context: the guard is there for when that has ended.
	cmd := exec.CommandContext(context.Background(), z.Guard[0], z.Guard[1:]...)
	cmd.Stdin = r
	cmd.ExtraFiles = []*os.File{dir}
	cmd.Dir = "/"
	// A group of its own: what ends the freezer from a terminal spares it.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_ = r.Close()
	if err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	var once sync.Once
	return func() {
		once.Do(func() {
			_, _ = w.Write([]byte{guardDone})
			_ = w.Close()
			_ = cmd.Wait()
		})
	}, nil
}

// guardDone on the guard's standard input tells it that all went well.
const guardDone = 'd'

// GuardMain is the guard process: it waits until its standard input ends,
// and thaws the file system of descriptor 3 unless it was told that this is
// done. It returns the exit status.
func GuardMain() int {
	done := make(chan bool, 1)
	go func() {
		var b [1]byte
		n, _ := os.Stdin.Read(b[:])
		done <- n == 1 && b[0] == guardDone
	}()
	select {
	case ok := <-done:
		if ok {
			return 0
		}
	case <-time.After(maxFrozen):
	}
	dir := os.NewFile(3, "frozen")
	if err := ioctl(dir, fithaw, nil); err != nil && !errors.Is(err, unix.EINVAL) {
		fmt.Fprintln(os.Stderr, "thaw:", err)
		return 1
	}
	return 0
}

// Thaw ends a freeze that a crash left at point, and tells whether there was
// one.
func Thaw(point string) (bool, error) {
	dir, err := os.Open(point)
	if err != nil {
		return false, fmt.Errorf("thaw: %w", err)
	}
	defer dir.Close()
	switch err := ioctl(dir, fithaw, nil); {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EINVAL):
		return false, nil
	default:
		return false, fmt.Errorf("thaw %s: %w", point, err)
	}
}
