//go:build failpoint

package failpoint

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Enabled tells whether this binary was built with the tag "failpoint".
const Enabled = true

var state struct {
	once sync.Once
	mu   sync.Mutex
	name string
	act  func()
	nth  int
	hits int
	log  *os.File
}

// Hit marks one step of a mutating call; see the package comment.
func Hit(name string) {
	state.once.Do(load)
	state.mu.Lock()
	if state.log != nil {
		fmt.Fprintln(state.log, name)
	}
	fire := false
	if name == state.name {
		state.hits++
		fire = state.hits == state.nth
	}
	state.mu.Unlock()
	if fire {
		state.act()
	}
}

// load reads the environment once. A variable that cannot be understood ends
// the process: a crash test that silently tests nothing would be worse.
func load() {
	if path := os.Getenv("VARVE_FAILPOINT_LOG"); path != "" {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			fatal(err)
		}
		state.log = f
	}
	if spec := os.Getenv("VARVE_FAILPOINT"); spec != "" {
		if err := parse(spec); err != nil {
			fatal(fmt.Errorf("VARVE_FAILPOINT=%q: %w", spec, err))
		}
	}
}

// parse reads NAME=ACTION[@N] in full, so that a misspelt action ends the
// process even when its point is never hit.
func parse(spec string) error {
	name, action, _ := strings.Cut(spec, "=")
	if name == "" || action == "" {
		return errors.New("want NAME=ACTION[@N]")
	}
	state.name, state.nth = name, 1
	if a, n, ok := strings.Cut(action, "@"); ok {
		count, err := strconv.Atoi(n)
		if err != nil || count < 1 {
			return fmt.Errorf("count %q: want a positive number after the @", n)
		}
		action, state.nth = a, count
	}
	duration, isSleep := strings.CutPrefix(action, "sleep:")
	switch {
	case action == "kill":
		state.act = kill
	case action == "stop":
		state.act = func() { _ = syscall.Kill(os.Getpid(), syscall.SIGSTOP) }
	case isSleep:
		d, err := time.ParseDuration(duration)
		if err != nil || d < 0 {
			return fmt.Errorf("duration %q: want one like 500ms", duration)
		}
		state.act = func() { time.Sleep(d) }
	default:
		return fmt.Errorf("action %q: want kill, stop or sleep:DURATION", action)
	}
	return nil
}

// kill does not return: the signal reaches the process a moment later, and
// the step after the point must not begin in that moment.
func kill() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "failpoint:", err)
	os.Exit(2) //nolint:forbidigo // a crash test that goes on without its crash proves nothing
}
