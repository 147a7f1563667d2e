package vm

import (
	"errors"
	"fmt"
)

// Why a machine failed. A *MachineError wraps one of them.
var (
	// ErrNoBoot: it did not come up in time.
	ErrNoBoot = errors.New("the machine did not boot")
	// ErrDied: it ended by itself; a kernel panic, as a rule.
	ErrDied = errors.New("the machine died")
	// ErrTimeout: what ran in it took longer than the context allowed.
	ErrTimeout = errors.New("the machine was ended at its timeout")
	// ErrOff: it was powered off, cut or closed by the one who holds it.
	ErrOff = errors.New("the machine is off")
)

// consoleShown is how many lines of the console an error shows.
const consoleShown = 60

// MachineError is a failure of the machine, not of a command in it. Its text
// ends with the end of the console.
type MachineError struct {
	// Err wraps one of the errors above.
	Err error
	// Console is the end of the console, several lines.
	Console string
}

func (e *MachineError) Error() string {
	return fmt.Sprintf("%v; the end of its console:\n%s", e.Err, e.Console)
}

func (e *MachineError) Unwrap() error { return e.Err }
