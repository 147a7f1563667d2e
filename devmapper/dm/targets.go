package dm

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// Offsets in struct dm_target_spec.
const (
	atStart  = 0
	atLength = 8
	atNext   = 20
	atType   = 24
	specSize = unix.SizeofDmTargetSpec
)

// errGarbled is an answer that breaks the kernel's own rules.
var errGarbled = errors.New("the kernel's answer is garbled")

// encodeTargets lays targets out for DM_TABLE_LOAD, each on 8 bytes, where
// next counts from the target's own start.
func encodeTargets(targets []Target) []byte {
	size := 0
	for _, t := range targets {
		size += specSize + align(len(t.Params)+1)
	}
	buffer := make([]byte, size)
	rest := buffer
	for _, t := range targets {
		native.PutUint64(rest[atStart:], t.Start)
		native.PutUint64(rest[atLength:], t.Length)
		next := specSize + align(len(t.Params)+1)
		native.PutUint32(rest[atNext:], uint32(next))
		copy(rest[atType:atType+maxType], t.Type)
		copy(rest[specSize:], t.Params)
		rest = rest[next:]
	}
	return buffer
}

// targets reads the answer of DM_TABLE_STATUS, where next counts from the
// start of the first target.
func (h header) targets() ([]Target, error) {
	count := h.u32(atTargetCount)
	if count == 0 || !h.has(unix.DM_ACTIVE_PRESENT_FLAG|unix.DM_INACTIVE_PRESENT_FLAG) {
		return nil, nil
	}
	return read(h, func(data []byte) ([]Target, error) { return parseTargets(data, count) })
}

func parseTargets(data []byte, count uint32) ([]Target, error) {
	if uint64(count)*specSize > uint64(len(data)) || count > math.MaxInt32 {
		return nil, fmt.Errorf("%d targets in %d bytes: %w", count, len(data), errGarbled)
	}
	targets := make([]Target, 0, count)
	at := uint64(0)
	for range count {
		if at+specSize > uint64(len(data)) {
			return nil, fmt.Errorf("target %d begins at byte %d of %d: %w", len(targets), at, len(data), errGarbled)
		}
		spec := data[at:]
		targets = append(targets, Target{
			Start:  native.Uint64(spec[atStart:]),
			Length: native.Uint64(spec[atLength:]),
			Type:   text(spec[atType:specSize]),
			Params: text(spec[specSize:]),
		})
		next := uint64(native.Uint32(spec[atNext:]))
		if next < at+specSize && len(targets) < int(count) {
			return nil, fmt.Errorf("target %d is followed by byte %d, before its own end: %w", len(targets)-1, next, errGarbled)
		}
		at = next
	}
	return targets, nil
}
