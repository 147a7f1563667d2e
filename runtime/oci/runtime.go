package oci

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/varve-project/varve/internal/failpoint"
)

// ErrNoContainer means that the runtime does not know the container.
var ErrNoContainer = errors.New("no such container")

// Runtime is an OCI runtime as a command.
type Runtime struct {
	// Path is the binary.
	Path string
	// Root is the runtime's own state folder.
	Root string
}

// Find looks a runtime up, a path or a name in PATH or in one of dirs.
func Find(name, root string, dirs ...string) (*Runtime, error) {
	if strings.Contains(name, "/") {
		return &Runtime{name, root}, nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return &Runtime{path, root}, nil
	}
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return &Runtime{path, root}, nil
		}
	}
	return nil, fmt.Errorf("OCI runtime %q is not in PATH; install it (apt-get install %s) or name another with --oci-runtime", name, name)
}

// Stdio is what a container's process gets; nil is /dev/null.
type Stdio struct{ In, Out, Err *os.File }

// Run makes a container from a bundle and starts its process, which becomes
// the child of the nearest subreaper when the runtime exits. It returns the
// process's pid. The error carries the runtime's own words.
func (r *Runtime) Run(ctx context.Context, id, bundle string, io Stdio) (int, error) {
	failpoint.Hit("runtime.run.oci-run.before")
	pid, err := r.make(ctx, id, bundle, io, "run", "--detach")
	failpoint.Hit("runtime.run.oci-run.after")
	return pid, err
}

// Create is Run up to the moment before the container's own program is
// executed: its process waits for Start. Nothing of the image has run yet, so
// that what the program needs, but its making does not, may still be missing.
func (r *Runtime) Create(ctx context.Context, id, bundle string, io Stdio) (int, error) {
	failpoint.Hit("runtime.run.oci-create.before")
	pid, err := r.make(ctx, id, bundle, io, "create")
	failpoint.Hit("runtime.run.oci-create.after")
	return pid, err
}

// Start lets a container begin that Create made.
func (r *Runtime) Start(ctx context.Context, id string) error {
	failpoint.Hit("runtime.run.oci-start.before")
	err := r.command(ctx, "", Stdio{}, "start", id)
	failpoint.Hit("runtime.run.oci-start.after")
	return err
}

// make runs a command of the runtime that makes a container, and returns the
// pid of its process.
func (r *Runtime) make(ctx context.Context, id, bundle string, io Stdio, command ...string) (int, error) {
	pidFile := filepath.Join(bundle, "pid")
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	err := r.command(ctx, bundle, io, append(command, "--bundle", bundle, "--pid-file", pidFile, id)...)
	if err != nil {
		return 0, err
	}
	return readPid(pidFile)
}

// Exec starts a further process in a container, detached, and returns its
// pid; as with Run it becomes the nearest subreaper's child. dir is a folder
// for the files that describe it.
func (r *Runtime) Exec(ctx context.Context, id, dir string, args []string, io Stdio) (int, error) {
	pidFile := filepath.Join(dir, "exec.pid")
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	failpoint.Hit("runtime.probe.oci-exec.before")
	err := r.command(ctx, dir, io, append([]string{"exec", "--detach", "--pid-file", pidFile, id}, args...)...)
	failpoint.Hit("runtime.probe.oci-exec.after")
	if err != nil {
		return 0, err
	}
	return readPid(pidFile)
}

// Delete kills what is left of a container and forgets it. Deleting what is
// absent is no error.
func (r *Runtime) Delete(ctx context.Context, id string) error {
	if _, err := os.Lstat(filepath.Join(r.Root, id)); errors.Is(err, fs.ErrNotExist) {
		return nil // saves an exec: both runc and crun keep ROOT/ID
	}
	failpoint.Hit("runtime.rm.oci-delete.before")
	err := r.command(ctx, "", Stdio{}, "delete", "--force", id)
	failpoint.Hit("runtime.rm.oci-delete.after")
	return err
}

// State is what `state` prints of a container.
type State struct {
	Status string `json:"status"`
	Pid    int    `json:"pid"`
}

// State asks the runtime about a container. The error wraps ErrNoContainer
// when it knows none.
func (r *Runtime) State(ctx context.Context, id string) (State, error) {
	if _, err := os.Lstat(filepath.Join(r.Root, id)); errors.Is(err, fs.ErrNotExist) {
		return State{}, fmt.Errorf("container %s: %w", id, ErrNoContainer)
	}
	cmd := exec.CommandContext(ctx, r.Path, "--root", r.Root, "state", id)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		return State{}, fmt.Errorf("%s state %s: %w: %s", filepath.Base(r.Path), id, err, strings.TrimSpace(errOut.String()))
	}
	var s State
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("%s state %s: %w", filepath.Base(r.Path), id, err)
	}
	return s, nil
}

// ExecArgs is the command line of a further process in the foreground, for
// `varve pod exec`, which becomes the runtime.
func (r *Runtime) ExecArgs(id string, tty bool, args []string) []string {
	line := []string{r.Path, "--root", r.Root, "exec"}
	if tty {
		line = append(line, "--tty")
	}
	return append(append(line, id), args...)
}

// command runs the runtime. Its log goes to a file in dir, since its stderr
// may be the container's; an error carries the last error of that log.
func (r *Runtime) command(ctx context.Context, dir string, io Stdio, args ...string) error {
	global := []string{"--root", r.Root}
	log := ""
	if dir != "" {
		log = filepath.Join(dir, "runtime.log")
		if err := os.Remove(log); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		global = append(global, "--log", log, "--log-format", "json")
	}
	cmd := exec.CommandContext(ctx, r.Path, append(global, args...)...)
	// A runtime that was killed may leave a child with our pipe open.
	cmd.WaitDelay = time.Second
	var errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, nil, &errOut
	if io.In != nil {
		cmd.Stdin = io.In
	}
	if io.Out != nil {
		cmd.Stdout = io.Out
	}
	if io.Err != nil {
		cmd.Stderr = io.Err
	} else if io.Out != nil || dir != "" {
		// A detached process keeps its stderr: a pipe would not end with
		// the runtime.
		cmd.Stderr = nil
	}
	err := cmd.Run()
	if err == nil {
		return nil
	}
	said := strings.TrimSpace(errOut.String())
	if log != "" {
		if line := lastError(log); line != "" {
			said = line
		}
	}
	what := filepath.Base(r.Path) + " " + args[0]
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	if said == "" {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %s", what, said)
}

// lastError finds the last error in a runtime's JSON log.
func lastError(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	last := ""
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(lines.Bytes(), &entry) == nil && (entry.Level == "error" || entry.Level == "fatal") {
			last = entry.Msg
		}
	}
	return last
}

func readPid(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("pid of a started process: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("pid of a started process: %w", err)
	}
	return pid, nil
}
