package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// skipReason must be in the output of every test that skips.
const skipReason = "kernel lacks: "

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output, instead of Package
	Test       string
	Output     string
	Elapsed    float64 // seconds
}

// tally counts what test2json tells. Only leaves count: a test with subtests
// is the sum of them, and failing itself besides is counted once more.
type tally struct {
	out                     io.Writer
	passed, failed, skipped int
	output                  map[string][]string // by test, until it ends
	parents                 map[string]bool     // tests that have subtests
	badParents              map[string]bool     // those with a failed subtest
	blame                   map[string]bool     // packages with a failed test
	broken                  map[string][]string // build output by package
	counts                  map[string]int      // ended tests by package
}

func newTally(out io.Writer) *tally {
	return &tally{
		out: out, output: map[string][]string{}, parents: map[string]bool{},
		badParents: map[string]bool{}, blame: map[string]bool{}, broken: map[string][]string{}, counts: map[string]int{},
	}
}

// read consumes the stream to its end. A line that is no JSON is printed: it
// is what a crashing test binary leaves.
func (t *tally) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				t.add(e)
			} else {
				t.print(string(line))
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (t *tally) add(e event) {
	key := e.Package + "\x00" + e.Test
	switch e.Action {
	case "start":
	case "run":
		for _, parent := range ancestors(e.Test) {
			t.parents[e.Package+"\x00"+parent] = true
		}
	case "build-output":
		t.broken[e.ImportPath] = append(t.broken[e.ImportPath], e.Output)
	case "build-fail":
		t.print("BUILD   " + e.ImportPath + "\n")
		t.indent(t.broken[e.ImportPath])
	case "output":
		t.output[key] = append(t.output[key], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			t.endPackage(e)
		} else {
			t.endTest(e, key)
		}
	}
}

func (t *tally) endTest(e event, key string) {
	lines := t.output[key]
	delete(t.output, key)
	leaf := !t.parents[key]
	if leaf {
		t.counts[e.Package]++
	}
	switch {
	case e.Action == "pass" && leaf:
		t.passed++
	case e.Action == "skip" && strings.Contains(strings.Join(lines, ""), skipReason):
		t.skipped++
		t.print(fmt.Sprintf("skipped %s %s\n", e.Package, e.Test))
		t.indent(lines)
	case e.Action == "skip":
		t.fail(e, "skipped without naming what the kernel lacks\n", lines)
	case e.Action == "fail" && (leaf || !t.badParents[key]):
		t.fail(e, "", lines)
	case e.Action == "fail":
		// Its subtests have told the story; what it printed itself may add.
		t.indent(lines)
	}
}

func (t *tally) fail(e event, why string, lines []string) {
	t.failed++
	t.blame[e.Package] = true
	for _, parent := range ancestors(e.Test) {
		t.badParents[e.Package+"\x00"+parent] = true
	}
	t.print(fmt.Sprintf("FAILED  %s %s (%s) %s\n", e.Package, e.Test, seconds(e.Elapsed), why))
	t.indent(lines)
}

// endPackage prints the package's line. One that failed with no test to blame
// (a panic, an os.Exit, a build failure, TestMain) is a failure itself.
func (t *tally) endPackage(e event) {
	key := e.Package + "\x00"
	lines := t.output[key]
	delete(t.output, key)
	switch e.Action {
	case "fail":
		if !t.blame[e.Package] {
			t.failed++
			t.print("FAILED  " + e.Package + " (no test to blame)\n")
			t.unfinished(e.Package)
			t.indent(lines)
		}
		t.print(fmt.Sprintf("fail    %s %s\n", e.Package, seconds(e.Elapsed)))
	case "pass":
		t.print(fmt.Sprintf("ok      %s %s, %d tests\n", e.Package, seconds(e.Elapsed), t.counts[e.Package]))
	}
}

// ancestors lists the tests that a subtest is part of.
func ancestors(test string) []string {
	var all []string
	for i := strings.LastIndexByte(test, '/'); i >= 0; i = strings.LastIndexByte(test, '/') {
		test = test[:i]
		all = append(all, test)
	}
	return all
}

// unfinished prints the output of tests that were running when the package
// ended.
func (t *tally) unfinished(pkg string) {
	for key, lines := range t.output {
		if strings.HasPrefix(key, pkg+"\x00") {
			t.print("  unfinished: " + strings.TrimPrefix(key, pkg+"\x00") + "\n")
			t.indent(lines)
			delete(t.output, key)
		}
	}
}

// fault counts a failure outside every test.
func (t *tally) fault(text string) {
	t.failed++
	t.print("FAILED  " + text + "\n")
}

// close prints the closing line and returns the exit status.
func (t *tally) close() int {
	if t.passed+t.failed == 0 {
		t.fault("no test ran")
	}
	t.print(fmt.Sprintf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped))
	if t.failed > 0 {
		return 1
	}
	return 0
}

func (t *tally) indent(lines []string) {
	for _, line := range lines {
		if !strings.HasPrefix(strings.TrimSpace(line), "=== ") {
			t.print("    " + line)
		}
	}
}

// print ignores its own failure: with standard output gone there is nobody to
// tell, and the exit status still counts.
func (t *tally) print(text string) { _, _ = io.WriteString(t.out, text) }

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(10 * time.Millisecond).String()
}
