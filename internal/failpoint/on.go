//go:build failpoint

package failpoint

import (
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
	once   sync.Once
	mu     sync.Mutex
	name   string
	action string
	nth    int
	hits   int
	log    *os.File
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
		act(state.action)
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
	spec := os.Getenv("VARVE_FAILPOINT")
	if spec == "" {
		return
	}
	name, action, ok := strings.Cut(spec, "=")
	if !ok {
		fatal(fmt.Errorf("VARVE_FAILPOINT=%q: want NAME=ACTION[@N]", spec))
	}
	state.name, state.nth = name, 1
	if a, n, ok := strings.Cut(action, "@"); ok {
		count, err := strconv.Atoi(n)
		if err != nil || count < 1 {
			fatal(fmt.Errorf("VARVE_FAILPOINT=%q: N must be a positive number", spec))
		}
		action, state.nth = a, count
	}
	state.action = action
}

func act(action string) {
	switch {
	case action == "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case action == "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case strings.HasPrefix(action, "sleep:"):
		d, err := time.ParseDuration(strings.TrimPrefix(action, "sleep:"))
		if err != nil {
			fatal(err)
		}
		time.Sleep(d)
	default:
		fatal(fmt.Errorf("failpoint action %q: want kill, stop or sleep:DURATION", action))
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "failpoint:", err)
	os.Exit(2)
}
