package dm

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// answerSize is the room for an answer at the first try; most fit. maxAnswer
// is where growing ends: tens of thousands of targets.
const (
	answerSize = 16 << 10
	maxAnswer  = 64 << 20
)

// command is one ioctl before it is bytes.
type command struct {
	request uintptr
	name    string
	uuid    string
	flags   uint32
	dev     uint64 // a minor number asked for
	event   uint32 // event number, or udev cookie and flags
	targets uint32
	payload []byte
	answer  int // room for an answer, 0 where none is expected
}

// do issues the command and returns the kernel's answer: the header with its
// data behind it. An answer that did not fit is asked for again with twice the
// room, so one call is one ioctl and one more for every doubling.
func (c *Control) do(cmd command) (header, error) {
	for room := cmd.answer; ; room *= 2 {
		buffer := cmd.encode(room)
		if err := c.kernel.Ioctl(cmd.request, buffer); err != nil {
			return nil, err
		}
		if !buffer.has(unix.DM_BUFFER_FULL_FLAG) {
			return buffer, nil
		}
		if cmd.answer == 0 || room >= maxAnswer {
			return nil, fmt.Errorf("the answer does not fit into %d bytes: %w", room, unix.EOVERFLOW)
		}
	}
}

// encode lays the command out: header, payload, and at least room bytes for
// what the kernel answers in the payload's place.
func (cmd command) encode(room int) header {
	size := headerSize + align(max(len(cmd.payload), room))
	h := header(make([]byte, size))
	// The lowest version that has what we use, not the kernel's own: the
	// kernel refuses what is newer than itself. Nothing depends on the minor.
	h.setU32(atVersion, unix.DM_VERSION_MAJOR)
	h.setU32(atDataSize, uint32(size))
	h.setU32(atDataStart, headerSize)
	h.setU32(atTargetCount, cmd.targets)
	h.setU32(atFlags, cmd.flags)
	h.setU32(atEvent, cmd.event)
	native.PutUint64(h[atDev:], cmd.dev)
	h.setString(atName, cmd.name)
	h.setString(atUUID, cmd.uuid)
	copy(h[headerSize:], cmd.payload)
	return h
}

// data is what the kernel wrote behind the header.
func (h header) data() ([]byte, error) {
	start, end := uint64(h.u32(atDataStart)), uint64(h.u32(atDataSize))
	if start < headerSize || end > uint64(len(h)) || start > end {
		return nil, fmt.Errorf("data from byte %d to %d of %d: %w", start, end, len(h), errGarbled)
	}
	return h[start:end], nil
}

// read hands the data to a parser of it.
func read[T any](h header, parse func([]byte) (T, error)) (T, error) {
	data, err := h.data()
	if err != nil {
		var none T
		return none, err
	}
	return parse(data)
}
