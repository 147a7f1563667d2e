package overlay

import "fmt"

// Options say what is measured and where.
type Options struct {
	// Dir takes a folder with the data of both sides, removed afterwards; two
	// runs may share it.
	Dir string
	// Bin holds varve-overlay, and Bin/peers containerd.
	Bin string
	// Results takes overlay.json and README.md.
	Results string
	// Rounds is the number of interleaved rounds.
	Rounds int
	// SelfCheck puts the built-in driver in the place of ours: every ratio
	// must then be about 1, or the harness is not to be trusted. The result
	// is called overlay-self-check.
	SelfCheck bool
	// Quick takes a tenth of the operations, to try the harness out.
	Quick bool
	// Only is a part of a measure's name; others are left out. Empty is all.
	Only string
}

// Check refuses options that cannot give a result.
func (o Options) Check() error {
	if o.Rounds < 1 {
		return fmt.Errorf("-rounds %d: give at least 1; results worth keeping need 5", o.Rounds)
	}
	return nil
}

// bench is the result's name.
func (o Options) bench() string {
	if o.SelfCheck {
		return "overlay-self-check"
	}
	return "overlay"
}

// scale is n, or a tenth of it for a quick run.
func (o Options) scale(n int) int {
	if o.Quick {
		return max(n/10, 2)
	}
	return n
}
