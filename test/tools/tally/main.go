// Command tally runs `go test` over the packages given and ends with one line,
//
//	N passed, N failed, N skipped
//
// It prints a line per package, and the output of what failed. It exits 1 when
// anything failed or did not build, when no test ran at all, and when a test
// skipped for another reason than a feature that the kernel lacks: a suite
// that can pass by skipping proves nothing.
//
//	go run ./test/tools/tally [-tags TAGS] [-p N] [-run REGEXP] [-also COMMAND] [PACKAGE]...
//
// COMMAND, words parted by spaces, runs after the packages and writes a stream
// like that of `go test -json`, which is counted with theirs. It is for tests
// that go test cannot run by itself; without it there must be a package.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

func main() {
	os.Exit(run())
}

func run() int {
	tags := flag.String("tags", "", "build tags, as of go test")
	parallel := flag.String("p", "2", "packages at once, as of go test")
	pattern := flag.String("run", "", "tests to run, as of go test")
	timeout := flag.String("timeout", "15m", "per package, as of go test")
	also := flag.String("also", "", "a command that writes a stream as of go test -json")
	flag.Parse()
	if flag.NArg() == 0 && *also == "" {
		fmt.Fprintln(os.Stderr, "tally: name the packages to test, for example ./...")
		return 2
	}
	t := newTally(os.Stdout)
	if flag.NArg() > 0 {
		args := []string{"go", "test", "-json", "-count=1", "-p", *parallel, "-tags", *tags, "-run", *pattern, "-timeout", *timeout}
		t.consume(append(args, flag.Args()...))
	}
	if args := strings.Fields(*also); len(args) > 0 {
		t.consume(args)
	}
	return t.close()
}

// consume runs a command and counts the stream that it writes. That it fails
// where the stream names no failure is a failure itself.
func (t *tally) consume(args []string) {
	before := t.failed
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.fault(err.Error())
		return
	}
	readErr := t.read(out)
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case readErr != nil:
		t.fault("reading the output of " + args[0] + ": " + readErr.Error())
	case err != nil && !errors.As(err, &exit):
		t.fault(err.Error())
	case err != nil && t.failed == before:
		t.fault(args[0] + " failed (" + err.Error() + ") without naming a failed test; see above")
	}
}
