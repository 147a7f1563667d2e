package volume

import "github.com/varve-project/varve/internal/failpoint"

// Effect does one step of a mutating call between its two failpoints. The
// second is not hit when the step fails.
func Effect(name string, do func() error) error {
	failpoint.Hit(name + ".before")
	if err := do(); err != nil {
		return err
	}
	failpoint.Hit(name + ".after")
	return nil
}
