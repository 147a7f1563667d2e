package guard

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// timeoutParameter is how long, in seconds, the kernel lets writes to a full
// pool wait; one for the whole machine, read when a pool becomes full.
const timeoutParameter = "/sys/module/dm_thin_pool/parameters/no_space_timeout"

// KernelTimeout reads it: 0 is for ever, -1 that there is none to read.
func KernelTimeout() time.Duration { return readTimeout(timeoutParameter) }

func readTimeout(path string) time.Duration {
	data, err := os.ReadFile(path)
	if err != nil {
		return -1
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 32)
	if err != nil {
		return -1
	}
	return time.Duration(n) * time.Second //nolint:gosec // 32 bits
}

func timeoutCommand(seconds int) string {
	return fmt.Sprintf("echo %d > %s", seconds, timeoutParameter)
}
