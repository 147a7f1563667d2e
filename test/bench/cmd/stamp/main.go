// Command stamp is the first process of the pods that bench-runtime starts: it
// prints the nanoseconds since boot at which it began to run.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	fmt.Printf("stamp=%d\n", now.Nano())
}
