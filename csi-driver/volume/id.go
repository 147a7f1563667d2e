package volume

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	volumePrefix   = "vol-"
	snapshotPrefix = "snap-"
	idDigits       = 32
	// maxField is the general limit of the CSI specification for a string.
	maxField = 128
)

// NewVolumeID returns an id that was never given out before. Ids are random,
// not derived from names: a name may be used again after a delete, and a late
// retry of that delete must not hit the new volume.
func NewVolumeID() string { return volumePrefix + randomHex() }

// NewSnapshotID is NewVolumeID for snapshots.
func NewSnapshotID() string { return snapshotPrefix + randomHex() }

func randomHex() string {
	var b [idDigits / 2]byte
	_, _ = rand.Read(b[:]) // documented never to fail
	return hex.EncodeToString(b[:])
}

// ValidID refuses every string that NewVolumeID or NewSnapshotID cannot
// return. Ids become file names, so this is what keeps a caller in the store.
func ValidID(id string) error {
	rest, ok := strings.CutPrefix(id, volumePrefix)
	if !ok {
		rest, ok = strings.CutPrefix(id, snapshotPrefix)
	}
	if !ok || len(rest) != idDigits || strings.Trim(rest, "0123456789abcdef") != "" {
		return fmt.Errorf("id %q is none of this driver's: %w", id, ErrNotFound)
	}
	return nil
}

// CheckName refuses a volume or snapshot name that the CSI specification does
// not allow: empty, longer than 128 bytes, not UTF-8, or with control
// characters other than tab, line feed and carriage return.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("name: is required: %w", ErrInvalid)
	case len(name) > maxField:
		return fmt.Errorf("name: %d bytes, at most %d are allowed: %w", len(name), maxField, ErrInvalid)
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q: not UTF-8: %w", name, ErrInvalid)
	}
	for _, r := range name {
		if r == '\t' || r == '\n' || r == '\r' {
			continue
		}
		if r < 0x20 || r >= 0x7f && r <= 0x9f {
			return fmt.Errorf("name %q: control character %U is not allowed: %w", name, r, ErrInvalid)
		}
	}
	return nil
}
