package devmapper

import (
	"fmt"
	"time"
)

// Options say what is measured and where.
type Options struct {
	// Bin holds varve-devmapper.
	Bin string
	// Results takes devmapper.json and README.md.
	Results string
	// Rounds is the number of interleaved rounds; what takes long has fewer,
	// which its note says.
	Rounds int
	// Part divides the number of operations of a round, for a machine that is
	// too slow, or to try the harness out; 1 is all. Results say what was done.
	Part int
	// Only is a part of a measure's name; others are left out. Empty is all.
	Only string
	// Note is what a reader must know of this run, such as that the machine
	// was busy.
	Note string
	// Timeout bounds the run in the virtual machine.
	Timeout time.Duration
}

// Check refuses options that cannot give a result.
func (o Options) Check() error {
	if o.Rounds < 1 {
		return fmt.Errorf("-rounds %d: give at least 1; results worth keeping need 5", o.Rounds)
	}
	if o.Part < 1 {
		return fmt.Errorf("-part %d: give at least 1, which is all operations", o.Part)
	}
	if o.Timeout <= 0 {
		return fmt.Errorf("-timeout %v: give a time above zero, such as 40m", o.Timeout)
	}
	return nil
}

// scale is the part of n that is done.
func (o Options) scale(n int) int { return max(n/o.Part, min(n, 2)) }
