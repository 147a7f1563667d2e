package dm

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Offsets in struct dm_ioctl (include/uapi/linux/dm-ioctl.h), which is the
// same on every architecture but for the order of bytes. A test compares them
// with unix.DmIoctl.
const (
	atVersion     = 0
	atDataSize    = 12
	atDataStart   = 16
	atTargetCount = 20
	atOpenCount   = 24
	atFlags       = 28
	atEvent       = 32
	atDev         = 40
	atName        = 48
	atUUID        = 176
	headerSize    = unix.SizeofDmIoctl
)

// header is a struct dm_ioctl in a buffer: a view, not a copy.
type header []byte

var native = binary.NativeEndian

func (h header) u32(at int) uint32          { return native.Uint32(h[at:]) }
func (h header) setU32(at int, v uint32)    { native.PutUint32(h[at:], v) }
func (h header) flags() uint32              { return h.u32(atFlags) }
func (h header) has(flag uint32) bool       { return h.flags()&flag != 0 }
func (h header) setString(at int, s string) { copy(h[at:], s) }
func (h header) dev() uint64                { return native.Uint64(h[atDev:]) }

// version is the kernel's own, in every answer.
func (h header) version() Version {
	return Version{h.u32(atVersion), h.u32(atVersion + 4), h.u32(atVersion + 8)}
}

// text is the NUL-terminated string at the front of b, all of b where nothing
// terminates it.
func text(b []byte) string {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	return string(b)
}

// align rounds up to the 8 bytes on which the kernel wants every structure.
func align(n int) int { return (n + 7) &^ 7 }

// info reads what the kernel says of a device in every answer about one.
func (h header) info() Info {
	dev := h.dev()
	return Info{
		Name:           text(h[atName : atName+unix.DM_NAME_LEN]),
		UUID:           text(h[atUUID : atUUID+unix.DM_UUID_LEN]),
		Major:          unix.Major(dev),
		Minor:          unix.Minor(dev),
		Open:           int(int32(h.u32(atOpenCount))),
		Targets:        int(h.u32(atTargetCount)),
		Event:          h.u32(atEvent),
		Suspended:      h.has(unix.DM_SUSPEND_FLAG),
		ReadOnly:       h.has(unix.DM_READONLY_FLAG),
		Live:           h.has(unix.DM_ACTIVE_PRESENT_FLAG),
		Inactive:       h.has(unix.DM_INACTIVE_PRESENT_FLAG),
		DeferredRemove: h.has(unix.DM_DEFERRED_REMOVE),
	}
}
