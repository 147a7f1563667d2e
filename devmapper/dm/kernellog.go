package dm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelLog is the kernel's log from one moment on; -1 where it cannot be read.
// The position tells what is newer, for the log's clock is no clock of ours.
type kernelLog int

func openKernelLog() kernelLog {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		unix.Close(fd)
		return -1
	}
	return kernelLog(fd)
}

func (l kernelLog) close() {
	if l >= 0 {
		unix.Close(int(l))
	}
}

// refused adds to a table's refusal what only the kernel's log says: the
// ioctl answers a bare EINVAL.
func (c *Control) refused(name string, log kernelLog, targets []Target, err error) error {
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
	reasons := log.about(fmt.Sprintf("%d:%d", info.Major, info.Minor))
	if reasons == nil {
		return fmt.Errorf("%w (table: %s)", err, strings.Join(table, "; "))
	}
	return fmt.Errorf("%w (table: %s; the kernel's log: %s)", err, strings.Join(table, "; "), strings.Join(reasons, "; "))
}

// about are the lines that device-mapper wrote since: those about the device,
// or else those about none, which may be another call's of the same moment.
func (l kernelLog) about(device string) []string {
	if l < 0 {
		return nil
	}
	var own, others []string
	for record := make([]byte, 8<<10); ; {
		n, err := unix.Read(int(l), record)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EPIPE) { // EPIPE: lines were overwritten
			continue
		}
		if err != nil || n == 0 {
			break
		}
		line, number := reason(record[:n])
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
// where device-mapper wrote it, and the MAJOR:MINOR that it is about, if any
// ("table: 253:0: linear: Device lookup failed").
func reason(record []byte) (message, number string) {
	_, line, _ := bytes.Cut(record, []byte(";"))
	line, _, _ = bytes.Cut(line, []byte("\n"))
	message, ours := strings.CutPrefix(string(line), "device-mapper: ")
	if !ours {
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
