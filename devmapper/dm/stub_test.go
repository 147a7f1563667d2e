package dm_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/dm"
)

// stub is a kernel that does what the function says; it counts.
type stub struct {
	answer func(request uintptr, buffer []byte) error
	calls  []uintptr
}

func (s *stub) Ioctl(request uintptr, buffer []byte) error {
	s.calls = append(s.calls, request)
	return s.answer(request, buffer)
}

// Every errno that the kernel answers is a kind of error that a caller can
// ask for, keeps the errno, and names the device.
func TestErrnos(t *testing.T) {
	for errno, kind := range map[unix.Errno]func(error) bool{
		unix.ENXIO: errdefs.IsNotFound, unix.ENODATA: errdefs.IsNotFound,
		unix.EEXIST: errdefs.IsAlreadyExists, unix.ENOSPC: errdefs.IsResourceExhausted,
		unix.EOPNOTSUPP: errdefs.IsUnavailable, unix.EINVAL: errdefs.IsInvalidArgument,
		unix.EACCES: errdefs.IsPermissionDenied, unix.ENOTTY: errdefs.IsNotImplemented,
		unix.EIO: errdefs.IsUnavailable, unix.EBUSY: errdefs.IsFailedPrecondition,
		unix.ENOMEM: errdefs.IsResourceExhausted, unix.EROFS: errdefs.IsUnavailable,
	} {
		c := dm.New(&stub{answer: func(uintptr, []byte) error { return errno }})
		_, err := c.Message("pool", 0, "create_thin 1")
		if !kind(err) || !errors.Is(err, errno) || !strings.Contains(err.Error(), `message "create_thin 1" to device pool`) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	c := dm.New(&stub{answer: func(uintptr, []byte) error { return unix.EBUSY }})
	if _, err := c.Create("a", "u", dm.CreateOptions{}); !errdefs.IsAlreadyExists(err) {
		t.Error(err)
	}
	if err := c.Rename("a", "b"); !errdefs.IsAlreadyExists(err) || errdefs.IsFailedPrecondition(err) {
		t.Error(err)
	}
	if err := c.CancelDeferred("a"); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

// What the kernel would cut off, take for another name or refuse without a
// word is refused by name, before any ioctl.
func TestRefused(t *testing.T) {
	k := &stub{answer: func(uintptr, []byte) error { return nil }}
	c := dm.New(k)
	long, uuid := strings.Repeat("n", 128), strings.Repeat("u", 129)
	create := func(name, uuid string) error {
		_, err := c.Create(name, uuid, dm.CreateOptions{})
		return err
	}
	message := func(name, text string) error {
		_, err := c.Message(name, 0, text)
		return err
	}
	zero := dm.Target{Length: 8, Type: "zero"}
	for i, test := range []struct {
		err  error
		says string
	}{
		{create("", ""), "empty"},
		{create(long, ""), "128 bytes long, the kernel has room for 127"},
		{create("a/b", ""), "'/'"},
		{create("a b", ""), `holds ' '`},
		{create("a\x00b", ""), "NUL"},
		{create("control", ""), `"control"`},
		{create("..", ""), `".."`},
		{create("a", uuid), "129 bytes long, the kernel has room for 128"},
		{create("a", "u\n"), `holds '\n'`},
		{c.Rename("a", "b/c"), "'/'"},
		{c.Rename("a/b", "c"), "'/'"},
		{c.Remove("/dev/mapper/a"), "not the path"},
		{message("a", " "), "empty"},
		{message("a", "x\x00y"), "NUL"},
		{c.Load("a", false), "no targets"},
		{c.Load("a", false, dm.Target{Type: "zero"}), "length 0"},
		{c.Load("a", false, zero, zero), "starts at sector 0; the one before ends at 8"},
		{c.Load("a", false, dm.Target{Length: 8, Type: strings.Repeat("t", 16)}), "1 to 15 bytes"},
		{c.Load("a", false, dm.Target{Length: 8}), "1 to 15 bytes"},
		{c.Load("a", false, dm.Target{Length: 8, Type: "x", Params: "a\x00b"}), "NUL"},
	} {
		if !errdefs.IsInvalidArgument(test.err) || !strings.Contains(test.err.Error(), test.says) {
			t.Errorf("%d: %v: want an InvalidArgument that says %q", i, test.err, test.says)
		}
	}
	if _, err := c.TargetVersion(strings.Repeat("t", 16)); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	if len(k.calls) != 0 {
		t.Errorf("%d ioctls", len(k.calls))
	}
	if err := errors.Join(create(long[:127], uuid[:128]), create("a-Z_9.:=@+#", "")); err != nil {
		t.Error(err)
	}
}

// An answer that does not fit is asked for again with twice the room, one
// ioctl for each doubling, up to a bound.
func TestGrow(t *testing.T) {
	const full = 1 << 8 // DM_BUFFER_FULL_FLAG
	for _, need := range []int{100, 16 << 10, 100 << 10} {
		k := &stub{}
		k.answer = func(_ uintptr, b []byte) error {
			if len(b)-312 < need {
				binary.NativeEndian.PutUint32(b[28:], full)
			}
			return nil
		}
		if _, _, err := dm.New(k).Status("a", dm.StatusOptions{}); err != nil {
			t.Errorf("%d bytes: %v", need, err)
		}
		want := 1
		for room := 16 << 10; room < need; room *= 2 {
			want++
		}
		if len(k.calls) != want {
			t.Errorf("%d bytes: %d ioctls, want %d", need, len(k.calls), want)
		}
	}
	k := &stub{answer: func(_ uintptr, b []byte) error {
		binary.NativeEndian.PutUint32(b[28:], full)
		return nil
	}}
	if _, err := dm.New(k).Table("a"); !errors.Is(err, unix.EOVERFLOW) {
		t.Errorf("without end: %v", err)
	}
}

// Activate costs three ioctls, and one more to take back what failed.
func TestActivateIsTakenBack(t *testing.T) {
	create, load, resume, remove, stat := uintptr(unix.DM_DEV_CREATE), uintptr(unix.DM_TABLE_LOAD), uintptr(unix.DM_DEV_SUSPEND), uintptr(unix.DM_DEV_REMOVE), uintptr(unix.DM_DEV_STATUS)
	for _, test := range []struct {
		fails uintptr
		errno unix.Errno
		want  []uintptr
	}{
		{0, 0, []uintptr{create, load, resume}},
		{create, unix.EBUSY, []uintptr{create}},
		{load, unix.EINVAL, []uintptr{create, load, stat, remove}},
		{resume, unix.ENOMEM, []uintptr{create, load, resume, remove}},
	} {
		t.Run(fmt.Sprintf("%#x", test.fails), func(t *testing.T) {
			k := &stub{answer: func(request uintptr, _ []byte) error {
				if request == test.fails {
					return test.errno
				}
				return nil
			}}
			path, err := dm.New(k).Activate("a", "u", false, dm.Target{Length: 8, Type: "zero"})
			if (test.fails == 0) != (err == nil) || test.fails != 0 && !errors.Is(err, test.errno) {
				t.Error(err)
			}
			if err == nil && path != "/dev/mapper/a" {
				t.Error(path)
			}
			if !slices.Equal(k.calls, test.want) {
				t.Errorf("ioctls %x, want %x", k.calls, test.want)
			}
		})
	}
}
