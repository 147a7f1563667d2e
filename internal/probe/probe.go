// Package probe turns "does this kernel (or this directory) do X" into a
// value: a name, the kernel it came with, what it is needed for, and a check
// that runs once. The same value guards a driver, skips a test and explains
// an error, so the three can never disagree.
//
// The package knows no feature of its own; each part declares its probes.
package probe

import (
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
)

// Probe is one feature. Make it with New; it is safe for concurrent use.
type Probe struct {
	// Name is short and is what a test names when it skips
	// ("idmapped overlay mounts").
	Name string
	// Since is the first kernel that has it ("5.19"), empty when the kernel's
	// version does not decide.
	Since string
	// Remedy says what a person does to get it.
	Remedy string

	check func() error
	once  sync.Once
	err   error
}

// New declares a probe. check returns nil where the feature works, and
// leaves nothing behind; it runs at the first question and never again.
func New(name, since, remedy string, check func() error) *Probe {
	return &Probe{Name: name, Since: since, Remedy: remedy, check: check}
}

// Have tells whether the feature works.
func (p *Probe) Have() bool { return p.Cause() == nil }

// Cause is what the check said; nil where the feature works.
func (p *Probe) Cause() error {
	p.once.Do(func() { p.err = p.check() })
	return p.err
}

// Err is nil where the feature works, else an error that wraps
// errdefs.ErrNotImplemented and says what is missing, why, and what to do.
func (p *Probe) Err() error {
	cause := p.Cause()
	if cause == nil {
		return nil
	}
	since := ""
	if p.Since != "" {
		since = " (in Linux since " + p.Since + ")"
	}
	return fmt.Errorf("%s%s not available: %w; %s: %w", p.Name, since, cause, p.Remedy, errdefs.ErrNotImplemented)
}

// TB is the part of testing.TB that Require needs.
type TB interface {
	Helper()
	Skip(args ...any)
}

// Require skips the test where the feature is missing.
func (p *Probe) Require(t TB) {
	t.Helper()
	if err := p.Cause(); err != nil {
		t.Skip("kernel lacks: " + p.Name + ": " + err.Error())
	}
}
