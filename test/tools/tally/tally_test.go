package main

import (
	"bytes"
	"strings"
	"testing"
)

// stream is test2json's output in short: "ACTION TEST[: OUTPUT]" lines of one
// package p.
func stream(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		head, output, _ := strings.Cut(line, ": ")
		action, test, _ := strings.Cut(head, " ")
		b.WriteString(`{"Action":"` + action + `","Package":"p"`)
		if test != "" {
			b.WriteString(`,"Test":"` + test + `"`)
		}
		if output != "" {
			b.WriteString(`,"Output":"` + output + `\n"`)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func TestTally(t *testing.T) {
	for name, c := range map[string]struct {
		input string
		last  string
		exit  int
		has   string
	}{
		"passes": {
			stream("run A", "pass A", "run B", "run B/x", "pass B/x", "run B/y", "pass B/y", "pass B", "pass"),
			"3 passed, 0 failed, 0 skipped", 0, "ok      p",
		},
		"a failed subtest counts once": {
			stream("run B", "run B/x", "output B/x: boom", "fail B/x", "fail B", "fail"),
			"0 passed, 1 failed, 0 skipped", 1, "    boom",
		},
		"a parent that fails itself counts": {
			stream("run B", "run B/x", "pass B/x", "output B: leaked", "fail B", "fail"),
			"1 passed, 1 failed, 0 skipped", 1, "    leaked",
		},
		"a skip that names the kernel": {
			stream("run A", "pass A", "run B", "output B: kernel lacks: prjquota", "skip B", "pass"),
			"1 passed, 0 failed, 1 skipped", 0, "skipped p B",
		},
		"any other skip": {
			stream("run A", "pass A", "run B", "output B: needs root", "skip B", "pass"),
			"1 passed, 1 failed, 0 skipped", 1, "without naming",
		},
		"a package that dies": {
			stream("run A", "output A: half way", "output: panic: no", "fail"),
			"0 passed, 1 failed, 0 skipped", 1, "half way",
		},
		"nothing ran":       {stream("pass"), "0 passed, 1 failed, 0 skipped", 1, "no test ran"},
		"not even a stream": {"", "0 passed, 1 failed, 0 skipped", 1, "no test ran"},
		"foreign lines are shown": {
			"fatal error: all goroutines\n" + stream("run A", "pass A", "pass"),
			"1 passed, 0 failed, 0 skipped", 0, "fatal error: all goroutines",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			tally := newTally(&out)
			if err := tally.read(strings.NewReader(c.input)); err != nil {
				t.Fatal(err)
			}
			exit := tally.close()
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if last := lines[len(lines)-1]; last != c.last || exit != c.exit {
				t.Errorf("closed with %q, exit %d; want %q, %d\n%s", last, exit, c.last, c.exit, out.String())
			}
			if !strings.Contains(out.String(), c.has) {
				t.Errorf("printed\n%swant %q in it", out.String(), c.has)
			}
		})
	}
}

func TestBuildFailureIsShown(t *testing.T) {
	var out bytes.Buffer
	tally := newTally(&out)
	input := `{"ImportPath":"p [p.test]","Action":"build-output","Output":"p/x.go:1: undefined\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}
`
	if err := tally.read(strings.NewReader(input)); err != nil {
		t.Fatal(err)
	}
	if exit := tally.close(); exit != 1 || !strings.Contains(out.String(), "p/x.go:1: undefined") {
		t.Errorf("exit %d\n%s", exit, out.String())
	}
}

// TestConsume: two commands are counted together, and one that fails without a
// failed test is a failure.
func TestConsume(t *testing.T) {
	var out bytes.Buffer
	tally := newTally(&out)
	for _, script := range []string{
		`echo '{"Action":"pass","Package":"p","Test":"A"}'`,
		`echo '{"Action":"pass","Package":"q","Test":"A"}'; exit 3`,
		`echo '{"Action":"fail","Package":"r","Test":"A"}'; exit 1`,
	} {
		tally.consume([]string{"sh", "-c", script})
	}
	tally.consume([]string{"/no/such/program"})
	if exit := tally.close(); exit != 1 || !strings.Contains(out.String(), "2 passed, 3 failed, 0 skipped") {
		t.Errorf("exit %d\n%s", exit, out.String())
	}
}
