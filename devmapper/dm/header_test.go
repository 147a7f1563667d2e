package dm

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The offsets by hand are those of the kernel's structures.
func TestOffsets(t *testing.T) {
	var h unix.DmIoctl
	var s unix.DmTargetSpec
	for name, c := range map[string]struct{ got, want uintptr }{
		"size":         {headerSize, unsafe.Sizeof(h)},
		"data_size":    {atDataSize, unsafe.Offsetof(h.Data_size)},
		"data_start":   {atDataStart, unsafe.Offsetof(h.Data_start)},
		"target_count": {atTargetCount, unsafe.Offsetof(h.Target_count)},
		"open_count":   {atOpenCount, unsafe.Offsetof(h.Open_count)},
		"flags":        {atFlags, unsafe.Offsetof(h.Flags)},
		"event_nr":     {atEvent, unsafe.Offsetof(h.Event_nr)},
		"dev":          {atDev, unsafe.Offsetof(h.Dev)},
		"name":         {atName, unsafe.Offsetof(h.Name)},
		"uuid":         {atUUID, unsafe.Offsetof(h.Uuid)},
		"spec":         {specSize, unsafe.Sizeof(s)},
		"spec.start":   {atStart, unsafe.Offsetof(s.Sector_start)},
		"spec.length":  {atLength, unsafe.Offsetof(s.Length)},
		"spec.next":    {atNext, unsafe.Offsetof(s.Next)},
		"spec.type":    {atType, unsafe.Offsetof(s.Target_type)},
	} {
		if c.got != c.want {
			t.Errorf("%s is at %d, the kernel has it at %d", name, c.got, c.want)
		}
	}
}
