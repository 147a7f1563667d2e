package suites

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// slack is what the machine's own timeout has on top of the tests', for the
// boot: the tests' own tells more.
const slack = 5 * time.Minute

// Run runs one suite with the vm command of the repository at root and writes
// what `go test -json` says to out. Each package's name there carries the
// suite's, so that it is not taken for the package's run outside. It returns
// nil where tests failed: the stream says so.
func (s Suite) Run(ctx context.Context, root string, out, errs io.Writer) error {
	program := filepath.Join(root, "bin", "vm")
	if strings.ContainsAny(program, " \t'\"") {
		return fmt.Errorf("the path %q has a space or a quote, which go test -exec cannot take; clone the repository elsewhere", program)
	}
	vm := append([]string{program, "run", fmt.Sprintf("--timeout=%v", s.Timeout+slack)}, s.Flags...)
	args := []string{"test", "-json", "-count=1", "-p=1", "-run=" + s.Tests, "-skip=" + s.Skip, "-tags=" + s.Tags, fmt.Sprintf("-timeout=%v", s.Timeout), "-exec=" + strings.Join(append(vm, "--"), " ")}
	cmd := exec.CommandContext(ctx, "go", append(args, s.Packages...)...)
	cmd.Dir, cmd.Stderr = root, errs
	// An interrupted go test passes the interrupt on to the machine.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	cmd.Env = environment(root)
	stream, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	copyErr := s.label(out, stream)
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		err = nil
	}
	return errors.Join(copyErr, err, ctx.Err())
}

// environment names the programs built before: a build inside the machine
// would take many minutes.
func environment(root string) []string {
	env := os.Environ()
	for name, dir := range map[string]string{"VARVE_BIN": "bin", "VARVE_BIN_FAILPOINT": "bin/failpoint", "VARVE_PEERS": "bin/peers"} {
		if os.Getenv(name) == "" {
			env = append(env, name+"="+filepath.Join(root, dir))
		}
	}
	return env
}

// label copies the stream and puts the suite's name into it.
func (s Suite) label(out io.Writer, stream io.Reader) error {
	lines := bufio.NewReader(stream)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			if _, err := out.Write(s.labelled(line)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// labelled returns a line of the stream with the suite's name. What is no JSON
// stays: it is what a crashing test leaves.
func (s Suite) labelled(line []byte) []byte {
	var event map[string]any
	if json.Unmarshal(line, &event) != nil {
		return line
	}
	name, ok := event["Package"].(string)
	if !ok {
		return line
	}
	event["Package"] = name + " (vm: " + s.Name + ")"
	marked, err := json.Marshal(event)
	if err != nil {
		return line
	}
	return append(marked, '\n')
}
