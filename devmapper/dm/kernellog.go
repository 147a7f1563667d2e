package dm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// monotonic is the clock of the kernel's log, in microseconds.
func monotonic() int64 {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	return now.Nano() / 1000
}

// slack is how far the log's clock may lag behind CLOCK_MONOTONIC, in
// microseconds: the log has the CPU's own clock, which nobody disciplines.
const slack = 50_000

// refused adds to a table's refusal what only the kernel's log says: the
// ioctl answers a bare EINVAL.
func (c *Control) refused(name string, since int64, targets []Target, err error) error {
	table := make([]string, len(targets))
	for i, t := range targets {
		table[i] = t.String()
	}
	if len(table) > 4 {
		table = append(table[:3], fmt.Sprintf("… %d more", len(targets)-3))
	}
	info, statErr := c.Stat(name)
	if statErr != nil {
		return err
	}
	reasons := logged(since, fmt.Sprintf("%d:%d", info.Major, info.Minor))
	if reasons == nil {
		return fmt.Errorf("%w (table: %s)", err, strings.Join(table, "; "))
	}
	return fmt.Errorf("%w (table: %s; the kernel's log: %s)", err, strings.Join(table, "; "), strings.Join(reasons, "; "))
}

// logged are the lines that device-mapper wrote to the kernel's log since the
// moment: those about the device, or else those about none, which may be
// another call's of the same moment. None where the log cannot be read.
func logged(since int64, device string) []string {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var own, others []string
	for record := make([]byte, 8<<10); ; {
		n, err := unix.Read(fd, record)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EPIPE) { // EPIPE: lines were overwritten
			continue
		}
		if err != nil || n == 0 {
			break
		}
		line, number := reason(record[:n], since)
		switch {
		case line == "":
		case number == device:
			own = append(own, line)
		case number == "" && !slices.Contains(others, line):
			others = append(others, line)
		}
	}
	if own != nil {
		return own
	}
	return others
}

// reason is the text of one record of /dev/kmsg ("6,1234,5678901,-;text\n …")
// where device-mapper wrote it since the moment, and the MAJOR:MINOR that it
// is about, if any ("table: 253:0: linear: Device lookup failed").
func reason(record []byte, since int64) (message, number string) {
	prefix, line, _ := bytes.Cut(record, []byte(";"))
	line, _, _ = bytes.Cut(line, []byte("\n"))
	message, ours := strings.CutPrefix(string(line), "device-mapper: ")
	if !ours {
		return "", ""
	}
	var level, sequence, at int64
	if n, _ := fmt.Sscanf(string(prefix), "%d,%d,%d", &level, &sequence, &at); n != 3 || at < since-slack {
		return "", ""
	}
	_, about, _ := strings.Cut(message, ": ")
	if number, _, found := strings.Cut(about, ": "); found && isNumber(number) {
		return message, number
	}
	return message, ""
}

// isNumber tells whether s is MAJOR:MINOR.
func isNumber(s string) bool {
	major, minor, found := strings.Cut(s, ":")
	return found && major != "" && minor != "" && strings.Trim(major+minor, "0123456789") == ""
}
