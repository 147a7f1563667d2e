// Package podstart measures how long it takes from the start of a command to
// the first instruction of the container's own process, image unpacked and
// everything warm: `varve run` against its parts (a bare `runc run` and one
// CNI ADD) and against other runtimes' commands.
//
// The container's process prints the time since boot at which it began, and
// the command's start is read from the same clock, so nothing that a runtime
// does after the start, and no way of reading the output, is measured.
package podstart

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"
)

// contender starts one container and removes it again.
type contender struct {
	name string
	// start returns the milliseconds to the first process, and the parts
	// they are made of, where the contender tells.
	start func(ctx context.Context, id string) (ms float64, phases []phase, err error)
}

// phase is a named part of a start.
type phase struct {
	name string
	ms   float64
}

// now is the nanoseconds since boot.
func now() (int64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return t.Nano(), nil
}

var stampLine = regexp.MustCompile(`(?m)stamp=(\d+)`)

// since reads the stamp out of a container's output and returns the
// milliseconds from start, which now returned.
func since(start int64, output []byte) (float64, error) {
	match := stampLine.FindSubmatch(output)
	if match == nil {
		return 0, fmt.Errorf("the container printed no stamp: %q", output)
	}
	stamp, err := strconv.ParseInt(string(match[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the container's stamp: %w", err)
	}
	if stamp < start {
		return 0, fmt.Errorf("the container's stamp %d is before its start %d", stamp, start)
	}
	return float64(stamp-start) / 1e6, nil
}
