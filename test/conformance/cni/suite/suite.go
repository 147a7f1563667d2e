// Package suite is a conformance suite for CNI plug-ins: it executes a plug-in
// as a runtime does, with the environment and the standard input of the
// specification, and holds the answers, and what the kernel has afterwards,
// against what the specification and the people who run nodes expect.
//
// It knows a plug-in by its executable and its configuration only. Every case
// runs on a node of its own (network, mount and process namespaces), so no
// case sees what another left, and none touches the machine's network.
//
// Sources: the CNI specification 1.1.0 (SPEC.md of containernetworking/cni)
// and its conventions (CONVENTIONS.md).
package suite

import (
	"fmt"
	"runtime"
	"strings"
	"time"
)

// Level says how a failure weighs.
type Level string

const (
	// Must: the specification demands it.
	Must Level = "must"
	// Trust: the specification is silent or says "should", and nodes leak or
	// wedge without it.
	Trust Level = "trust"
)

// Case is one property of a plug-in.
type Case struct {
	Name  string
	Level Level
	// Since is the configuration's cniVersion from which the case applies.
	Since string
	// Spec is where it is written, or which trouble the case is about.
	Spec string
	// Small: the case needs a configuration with a handful of addresses.
	Small bool
	// Ports: the case needs the portMappings capability.
	Ports bool
	Run   func(r *Run)
}

// Cases lists all cases, in the order of a plug-in's life.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{
		versionCases, inputCases, addCases, delCases, checkCases, statusCases, gcCases, loadCases, portCases,
	} {
		all = append(all, group...)
	}
	return all
}

// Outcome is a case's end.
type Outcome string

const (
	Passed Outcome = "passed"
	Failed Outcome = "failed"
	// Refused: the case does not apply to this configuration; Text says why.
	Refused Outcome = "not applicable"
)

// Report is what a case answers.
type Report struct {
	Case    string        `json:"case"`
	Level   Level         `json:"level"`
	Outcome Outcome       `json:"outcome"`
	Text    []string      `json:"text,omitempty"`
	Took    time.Duration `json:"took"`
}

// Execute runs one case against the subject, in the calling process's own
// namespaces, which must be a node's of its own.
func Execute(c Case, s *Subject) (report Report) {
	report = Report{Case: c.Name, Level: c.Level, Outcome: Passed}
	if why := s.lacks(c); why != "" {
		report.Outcome, report.Text = Refused, []string{why}
		return report
	}
	r := &Run{Subject: s}
	begun := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// What the plug-in inherits is this thread's network namespace.
		runtime.LockOSThread()
		defer r.cleanUp()
		c.Run(r)
	}()
	<-done
	report.Took = time.Since(begun)
	if report.Text = r.failures; len(r.failures) > 0 {
		report.Outcome = Failed
	}
	return report
}

// Run is a case on its way.
type Run struct {
	*Subject
	failures []string
	ends     []func()
	pods     int
}

// errorf notes a failure; the case goes on.
func (r *Run) errorf(format string, args ...any) {
	r.failures = append(r.failures, strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// fatalf notes a failure and ends the case. Only the case's own goroutine may
// call it.
func (r *Run) fatalf(format string, args ...any) {
	r.errorf(format, args...)
	runtime.Goexit()
}

func (r *Run) must(err error) {
	if err != nil {
		r.fatalf("the suite itself: %v", err)
	}
}

func (r *Run) onEnd(f func()) { r.ends = append(r.ends, f) }

func (r *Run) cleanUp() {
	for i := len(r.ends) - 1; i >= 0; i-- {
		r.ends[i]()
	}
}
