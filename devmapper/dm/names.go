package dm

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// The lengths that the kernel has room for, without the terminating NUL.
const (
	MaxName = unix.DM_NAME_LEN - 1
	MaxUUID = unix.DM_UUID_LEN - 1
	maxType = unix.DM_MAX_TYPE_NAME - 1
)

// plain are the characters besides letters and digits that udev and
// libdevmapper leave alone in the name of a node.
const plain = "#+-.:=@_"

// CheckName tells whether a device may be given the name: 1 to 127 letters,
// digits and #+-.:=@_. The kernel would take any byte but '/'; udev and
// libdevmapper would then each replace other ones, and the node be elsewhere.
// Errors wrap ErrInvalidArgument.
func CheckName(name string) error {
	if err := lookupName(name); err != nil {
		return err
	}
	if name == "." || name == ".." || name == unix.DM_CONTROL_NODE {
		return fmt.Errorf("device name %q is taken by /dev/mapper itself: choose another: %w", name, errdefs.ErrInvalidArgument)
	}
	for _, r := range name {
		if !isPlain(r) {
			return fmt.Errorf("device name %q holds %q: use letters, digits and %s: %w", name, r, plain, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// CheckUUID tells whether a device may be given the uuid: any text of up to
// 128 bytes, or none. Errors wrap ErrInvalidArgument.
func CheckUUID(uuid string) error {
	if len(uuid) > MaxUUID {
		return fmt.Errorf("device uuid %.20q… is %d bytes long, the kernel has room for %d: %w", uuid, len(uuid), MaxUUID, errdefs.ErrInvalidArgument)
	}
	for _, r := range uuid {
		if !isPlain(r) {
			return fmt.Errorf("device uuid %q holds %q: use letters, digits and %s: %w", uuid, r, plain, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

func isPlain(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(plain, r)
}

// lookupName refuses what cannot be the name of any device, whoever made it.
func lookupName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("device name is empty: %w", errdefs.ErrInvalidArgument)
	case len(name) > MaxName:
		return fmt.Errorf("device name %.20q… is %d bytes long, the kernel has room for %d: %w", name, len(name), MaxName, errdefs.ErrInvalidArgument)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("device name %q holds a '/' or a NUL: pass the name, not the path of the node: %w", name, errdefs.ErrInvalidArgument)
	}
	return nil
}
