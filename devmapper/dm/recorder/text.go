package recorder

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const lineBytes = 16

var names = map[uintptr]string{
	unix.DM_VERSION: "VERSION", unix.DM_REMOVE_ALL: "REMOVE_ALL", unix.DM_LIST_DEVICES: "LIST_DEVICES",
	unix.DM_DEV_CREATE: "DEV_CREATE", unix.DM_DEV_REMOVE: "DEV_REMOVE", unix.DM_DEV_RENAME: "DEV_RENAME",
	unix.DM_DEV_SUSPEND: "DEV_SUSPEND", unix.DM_DEV_STATUS: "DEV_STATUS", unix.DM_DEV_WAIT: "DEV_WAIT",
	unix.DM_TABLE_LOAD: "TABLE_LOAD", unix.DM_TABLE_CLEAR: "TABLE_CLEAR", unix.DM_TABLE_DEPS: "TABLE_DEPS",
	unix.DM_TABLE_STATUS: "TABLE_STATUS", unix.DM_LIST_VERSIONS: "LIST_VERSIONS", unix.DM_TARGET_MSG: "TARGET_MSG",
	unix.DM_DEV_ARM_POLL: "DEV_ARM_POLL", unix.DM_GET_TARGET_VERSION: "GET_TARGET_VERSION",
}

// Name is the ioctl's name in linux/dm-ioctl.h, without its DM_.
func Name(request uintptr) string {
	if name, ok := names[request]; ok {
		return name
	}
	return fmt.Sprintf("%#x", request)
}

// Format writes calls as text; see the package.
func Format(calls []Call) []byte {
	var b bytes.Buffer
	for i, c := range calls {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s %d\n", Name(c.Request), len(c.In))
		dump(&b, '>', c.In)
		if c.Errno != 0 {
			fmt.Fprintf(&b, "errno %d %s\n", int(c.Errno), c.Errno)
			continue
		}
		dump(&b, '<', c.Out)
	}
	return b.Bytes()
}

func dump(b *bytes.Buffer, mark byte, data []byte) {
	for at := 0; at < len(data); at += lineBytes {
		if len(bytes.Trim(data[at:min(at+lineBytes, len(data))], "\x00")) > 0 {
			fmt.Fprintln(b, line(mark, at, data))
		}
	}
}

// line is 16 bytes as hexdump -C shows them.
func line(mark byte, at int, data []byte) string {
	part := data[at:min(at+lineBytes, len(data))]
	printable := bytes.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, part)
	pairs := make([]string, len(part))
	for i, c := range part {
		pairs[i] = fmt.Sprintf("%02x", c)
	}
	return fmt.Sprintf("%c %03x  %-47s  |%s|", mark, at, strings.Join(pairs, " "), printable)
}

// Parse reads what Format wrote.
func Parse(record []byte) ([]Call, error) {
	var calls []Call
	for n, text := range strings.Split(string(record), "\n") {
		if err := parseLine(&calls, text); err != nil {
			return nil, fmt.Errorf("record, line %d: %q: %w", n+1, text, err)
		}
	}
	return calls, nil
}

func parseLine(calls *[]Call, text string) error {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return nil
	}
	if len(fields) < 2 {
		return fmt.Errorf("one word only")
	}
	if len(*calls) == 0 || !strings.Contains("><errno", fields[0]) {
		return parseHead(calls, fields)
	}
	call := &(*calls)[len(*calls)-1]
	switch fields[0] {
	case ">":
		return parseBytes(call.In, text)
	case "<":
		return parseBytes(call.Out, text)
	}
	errno, err := strconv.Atoi(fields[1])
	call.Errno, call.Out = unix.Errno(errno), nil
	return err
}

func parseHead(calls *[]Call, fields []string) error {
	size, err := strconv.Atoi(fields[1])
	if err != nil {
		return err
	}
	if size < 0 || size > 64<<20 {
		return fmt.Errorf("no buffer is %d bytes long", size)
	}
	for request, name := range names {
		if name == fields[0] {
			*calls = append(*calls, Call{Request: request, In: make([]byte, size), Out: make([]byte, size)})
			return nil
		}
	}
	return fmt.Errorf("unknown ioctl %s", fields[0])
}

func parseBytes(into []byte, text string) error {
	_, text, _ = strings.Cut(text, " ")
	offset, text, _ := strings.Cut(text, "  ")
	pairs, _, _ := strings.Cut(text, "  |")
	at, err := strconv.ParseUint(offset, 16, 31)
	if err != nil {
		return err
	}
	data, err := hex.DecodeString(strings.ReplaceAll(pairs, " ", ""))
	if err != nil {
		return err
	}
	if int(at)+len(data) > len(into) {
		return fmt.Errorf("byte %d is beyond the buffer's %d", int(at)+len(data), len(into))
	}
	copy(into[at:], data)
	return nil
}
