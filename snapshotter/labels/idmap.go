package labels

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// maxExtents is the kernel's limit of extents in one user namespace map
// (UID_GID_MAP_MAX_EXTENTS, user_namespaces(7)).
const maxExtents = 340

// Mapping is one extent "CONTAINER:HOST:SIZE" of an id map.
type Mapping struct{ Container, Host, Size uint32 }

// IDMap says how ids inside a container map to ids on the host.
type IDMap struct{ UIDs, GIDs []Mapping }

// Root returns the host ids of the container's root, which own the top of a
// mapped snapshot.
func (m *IDMap) Root() (uid, gid uint32) { return toHost(m.UIDs), toHost(m.GIDs) }

// toHost returns the host id of container id 0; parseMappings has seen to it
// that there is one.
func toHost(list []Mapping) uint32 {
	for _, m := range list {
		if m.Container == 0 {
			return m.Host
		}
	}
	return math.MaxUint32
}

// FormatUIDs returns the uid map in the form of the label and of the
// `uidmap=` mount option.
func (m *IDMap) FormatUIDs() string { return format(m.UIDs) }

// FormatGIDs is FormatUIDs for gids.
func (m *IDMap) FormatGIDs() string { return format(m.GIDs) }

func format(list []Mapping) string {
	parts := make([]string, len(list))
	for i, m := range list {
		parts[i] = fmt.Sprintf("%d:%d:%d", m.Container, m.Host, m.Size)
	}
	return strings.Join(parts, ",")
}

// parseMappings reads "C:H:S[,C:H:S...]". It refuses what the kernel would
// refuse when the consumer mounts, since by then nobody could say which
// label was at fault.
func parseMappings(text string) ([]Mapping, error) {
	parts := strings.Split(text, ",")
	if len(parts) > maxExtents {
		return nil, fmt.Errorf("%d extents; the kernel takes %d at most", len(parts), maxExtents)
	}
	list := make([]Mapping, 0, len(parts))
	for _, part := range parts {
		m, err := parseMapping(part)
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			if overlap(m.Container, o.Container, m.Size, o.Size) || overlap(m.Host, o.Host, m.Size, o.Size) {
				return nil, fmt.Errorf("extent %q overlaps another", part)
			}
		}
		list = append(list, m)
	}
	for _, m := range list {
		if m.Container == 0 {
			return list, nil
		}
	}
	return nil, errors.New("no extent maps container id 0; add one that does")
}

func parseMapping(text string) (Mapping, error) {
	fields := strings.Split(text, ":")
	if len(fields) != 3 {
		return Mapping{}, fmt.Errorf("extent %q: want CONTAINER:HOST:SIZE", text)
	}
	var n [3]uint32
	for i, f := range fields {
		v, err := strconv.ParseUint(f, 10, 32)
		// 4294967295 is (uid_t)-1, "no id" to the kernel.
		if err != nil || v == math.MaxUint32 {
			return Mapping{}, fmt.Errorf("extent %q: %q is not a number from 0 to 4294967294", text, f)
		}
		n[i] = uint32(v)
	}
	m := Mapping{Container: n[0], Host: n[1], Size: n[2]}
	if m.Size == 0 {
		return Mapping{}, fmt.Errorf("extent %q: size 0 maps nothing", text)
	}
	if m.Container > math.MaxUint32-m.Size || m.Host > math.MaxUint32-m.Size {
		return Mapping{}, fmt.Errorf("extent %q runs past the last id, 4294967294", text)
	}
	return m, nil
}

func overlap(a, b, sizeA, sizeB uint32) bool {
	return uint64(a) < uint64(b)+uint64(sizeB) && uint64(b) < uint64(a)+uint64(sizeA)
}
