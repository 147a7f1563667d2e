package dm

import (
	"bytes"
	"fmt"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Offsets in struct dm_name_list, dm_target_versions and dm_target_deps.
const (
	listNext, listName   = 8, 12
	versionAt, versionNm = 4, 16
	depsAt               = 8
)

// List names every device of the machine, in no order. One ioctl, one more
// for every doubling of an answer beyond 16 KiB; before Linux 5.13 also one
// for each device, whose uuid only Stat tells there.
func (c *Control) List() ([]Entry, error) {
	// The flag asks for the uuids.
	h, err := c.do(command{request: unix.DM_LIST_DEVICES, flags: unix.DM_UUID_FLAG, answer: answerSize})
	if err != nil {
		return nil, fail("list devices", "", err)
	}
	entries, err := read(h, parseList)
	if err != nil {
		return nil, fail("list devices", "", err)
	}
	known := make([]Entry, 0, len(entries))
	for _, e := range entries {
		if !e.whole {
			info, err := c.Stat(e.Name)
			if errdefs.IsNotFound(err) {
				continue // it went meanwhile
			}
			if err != nil {
				return nil, err
			}
			e.UUID, e.Event = info.UUID, info.Event
		}
		known = append(known, e.Entry)
	}
	return known, nil
}

// listEntry is an entry as the list has it, whole where the kernel is new
// enough to say whether there is a uuid.
type listEntry struct {
	Entry
	whole bool
}

// parseList reads struct dm_name_list records, each of which says how far the
// next one is. A first device of 0 means that there is none.
func parseList(data []byte) ([]listEntry, error) {
	if len(data) < 8 || native.Uint64(data) == 0 {
		return nil, nil
	}
	var entries []listEntry
	for {
		if len(data) <= listName {
			return nil, fmt.Errorf("device %d of the list is cut off: %w", len(entries), errGarbled)
		}
		dev, next := native.Uint64(data), uint64(native.Uint32(data[listNext:]))
		record := data
		if next != 0 {
			if next <= listName || next > uint64(len(data)) {
				return nil, fmt.Errorf("device %d of the list is %d bytes long of %d: %w", len(entries), next, len(data), errGarbled)
			}
			record = data[:next]
		}
		e := listEntry{Entry: Entry{Name: text(record[listName:]), Major: unix.Major(dev), Minor: unix.Minor(dev)}}
		e.readTail(record[min(len(record), align(listName+len(e.Name)+1)):])
		entries = append(entries, e)
		if next == 0 {
			return entries, nil
		}
		data = data[next:]
	}
}

// readTail reads what newer kernels put behind the name: the event number,
// flags, and the uuid.
func (e *listEntry) readTail(tail []byte) {
	if len(tail) < 8 {
		return
	}
	e.Event = native.Uint32(tail)
	flags := native.Uint32(tail[4:])
	e.whole = flags&(unix.DM_NAME_LIST_FLAG_HAS_UUID|unix.DM_NAME_LIST_FLAG_DOESNT_HAVE_UUID) != 0
	if flags&unix.DM_NAME_LIST_FLAG_HAS_UUID != 0 {
		e.UUID = text(tail[8:])
	}
}

// Targets lists the target types that the kernel has loaded, with their
// versions. A type that is not listed may still be a module that the first
// table naming it loads; see TargetVersion. One ioctl.
func (c *Control) Targets() ([]TargetType, error) {
	h, err := c.do(command{request: unix.DM_LIST_VERSIONS, answer: answerSize})
	if err != nil {
		return nil, fail("list target types", "", err)
	}
	types, err := read(h, parseVersions)
	if err != nil {
		return nil, fail("list target types", "", err)
	}
	return types, nil
}

// TargetVersion tells the version of one target type, whose module the kernel
// loads for the question (Linux 5.4 and newer). One ioctl.
//
// Errors: NotImplemented (the kernel does not have the type).
func (c *Control) TargetVersion(name string) (Version, error) {
	if name == "" || len(name) > maxType {
		return Version{}, fmt.Errorf("target type %q is not 1 to %d bytes long: %w", name, maxType, errdefs.ErrInvalidArgument)
	}
	h, err := c.do(command{request: unix.DM_GET_TARGET_VERSION, name: name, answer: answerSize})
	if err != nil {
		return Version{}, noTarget(name, err)
	}
	types, err := read(h, parseVersions)
	if err != nil {
		return Version{}, fail("ask for target type "+name, "", err)
	}
	for _, t := range types {
		if t.Name == name {
			return t.Version, nil
		}
	}
	return Version{}, noTarget(name, unix.EINVAL)
}

func parseVersions(data []byte) ([]TargetType, error) {
	var types []TargetType
	for len(data) > versionNm {
		next := uint64(native.Uint32(data))
		types = append(types, TargetType{
			Name: text(data[versionNm:]),
			Version: Version{
				native.Uint32(data[versionAt:]), native.Uint32(data[versionAt+4:]), native.Uint32(data[versionAt+8:]),
			},
		})
		if next == 0 {
			return types, nil
		}
		if next <= versionNm || next > uint64(len(data)) {
			return nil, fmt.Errorf("target type %d is %d bytes long of %d: %w", len(types)-1, next, len(data), errGarbled)
		}
		data = data[next:]
	}
	if len(bytes.Trim(data, "\x00")) > 0 {
		return nil, fmt.Errorf("target type %d is cut off: %w", len(types), errGarbled)
	}
	return types, nil
}

// Deps lists the block devices that the live table lies on, each once; none
// where there is no live table. One ioctl.
func (c *Control) Deps(name string) ([]Device, error) {
	h, err := c.device("read what lies below", command{request: unix.DM_TABLE_DEPS, name: name, answer: answerSize})
	if err != nil {
		return nil, err
	}
	if !h.has(unix.DM_ACTIVE_PRESENT_FLAG) {
		return nil, nil
	}
	devices, err := read(h, parseDeps)
	if err != nil {
		return nil, fail("read what lies below", name, err)
	}
	return devices, nil
}

func parseDeps(data []byte) ([]Device, error) {
	if len(data) < depsAt {
		return nil, fmt.Errorf("%d bytes of devices: %w", len(data), errGarbled)
	}
	count := uint64(native.Uint32(data))
	if count > uint64(len(data)-depsAt)/8 {
		return nil, fmt.Errorf("%d devices in %d bytes: %w", count, len(data), errGarbled)
	}
	devices := make([]Device, count)
	for i := range devices {
		dev := native.Uint64(data[depsAt+8*i:])
		devices[i] = Device{Major: unix.Major(dev), Minor: unix.Minor(dev)}
	}
	return devices, nil
}
