// Command tally runs `go test` over the packages given and ends with one line,
//
//	N passed, N failed, N skipped
//
// It prints a line per package, and the output of what failed. It exits 1 when
// anything failed or did not build, when no test ran at all, and when a test
// skipped for another reason than a feature that the kernel lacks: a suite
// that can pass by skipping proves nothing.
//
//	go run ./test/tools/tally [-tags TAGS] [-p N] [-run REGEXP] PACKAGE...
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
)

func main() {
	os.Exit(run())
}

func run() int {
	tags := flag.String("tags", "", "build tags, as of go test")
	parallel := flag.String("p", "2", "packages at once, as of go test")
	pattern := flag.String("run", "", "tests to run, as of go test")
	timeout := flag.String("timeout", "15m", "per package, as of go test")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "tally: name the packages to test, for example ./...")
		return 2
	}
	args := append([]string{"test", "-json", "-count=1", "-p", *parallel, "-tags", *tags, "-run", *pattern, "-timeout", *timeout}, flag.Args()...)
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		return 1
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		return 1
	}
	t := newTally(os.Stdout)
	readErr := t.read(out)
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case readErr != nil:
		t.fault("reading the output of go test: " + readErr.Error())
	case err != nil && !errors.As(err, &exit):
		t.fault(err.Error())
	case err != nil && t.failed == 0:
		t.fault("go test failed (" + err.Error() + ") without naming a failed test; see above")
	}
	return t.close()
}
