package story

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// flags are those that a user of this node would have in /etc/varve; they are
// named once and left out of what is printed.
func (s *story) flags() []string {
	return []string{"--root", s.root, "--oci-runtime", s.Runc, "--snapshotter", s.Snapshotter}
}

// snapshotter is the daemon's program.
func (s *story) snapshotter() string { return "varve-" + s.Snapshotter }

// run is a user's command: printed, executed, and what it wrote printed. It
// returns what went to stdout.
func (s *story) run(ctx context.Context, args ...string) (string, error) {
	fmt.Fprintf(s.out, "  $ varve %s\n", quoted(args))
	stdout, stderr, err := s.quiet(ctx, args...)
	s.show(stderr)
	s.show(stdout)
	return stdout, err
}

// show prints indented text.
func (s *story) show(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		fmt.Fprintf(s.out, "    %s\n", strings.TrimRight(line, "\n"))
	}
}

// say prints a remark of the teller.
func (s *story) say(format string, a ...any) { fmt.Fprintf(s.out, "  "+format+"\n", a...) }

// quiet is a command that is not printed. The error has what went to stderr.
func (s *story) quiet(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, s.varve(), append(s.flags(), args...)...)
	cmd.Dir = s.home
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	// A supervisor must not keep the pipes of the command that started it.
	cmd.WaitDelay = 5 * time.Second
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("varve %s: %w: %s", quoted(args), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), errOut.String(), err
}

// ask is a quiet command with -o json, read into value.
func (s *story) ask(ctx context.Context, value any, args ...string) error {
	out, _, err := s.quiet(ctx, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), value); err != nil {
		return fmt.Errorf("varve %s -o json: %w: %s", quoted(args), err, out)
	}
	return nil
}

// in runs a command in a container of a pod, as a user does.
func (s *story) in(ctx context.Context, pod, container string, command ...string) (string, error) {
	return s.run(ctx, append([]string{"pod", "exec", pod, "-c", container, "--"}, command...)...)
}

// expect runs a command in a container and compares its output.
func (s *story) expect(ctx context.Context, want, pod, container string, command ...string) error {
	out, err := s.in(ctx, pod, container, command...)
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(out); got != want {
		return fmt.Errorf("%s answered %q, want %q", pod, got, want)
	}
	return nil
}

// until repeats check until it gives no error, or for so long.
func until(ctx context.Context, patience time.Duration, check func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return errors.Join(err, ctx.Err())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// quoted writes arguments as a person types them.
func quoted(args []string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = arg
		if arg == "" || strings.ContainsAny(arg, " \t\n'\"$&|;<>*?()[]`\\") {
			words[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
