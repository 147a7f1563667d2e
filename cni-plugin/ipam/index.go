package ipam

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/failpoint"
)

// index is what the file of that name holds: one line for each address that
// is leased or rests, and for each range the last address that was handed out
// for the first time. Its size follows the leases, never the range.
//
//	varve-index 1 BOOT
//	fresh 10.89.0.1-10.89.0.254 10.89.0.7
//	leased 10.89.0.2 OWNER            OWNER is the lease's file name
//	resting 10.89.0.3 123456789       since, CLOCK_BOOTTIME in nanoseconds
type index struct {
	boot    string
	fresh   map[string]netip.Addr
	leased  map[netip.Addr]string
	resting map[netip.Addr]int64
}

const indexMagic = "varve-index 1 "

func newIndex(boot string) *index {
	return &index{boot, map[string]netip.Addr{}, map[netip.Addr]string{}, map[netip.Addr]int64{}}
}

// parseIndex refuses anything that it would not write itself: a torn index
// must be rebuilt, not believed.
func parseIndex(data []byte) (*index, error) {
	text := string(data)
	if !strings.HasPrefix(text, indexMagic) || !strings.HasSuffix(text, "\nend\n") {
		return nil, fmt.Errorf("not an index of this version, or cut short")
	}
	lines := strings.Split(strings.TrimSuffix(text, "\nend\n"), "\n")
	ix := newIndex(strings.TrimPrefix(lines[0], indexMagic))
	for _, line := range lines[1:] {
		if err := ix.parseLine(line); err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
	}
	return ix, nil
}

func (ix *index) parseLine(line string) error {
	kind, rest, _ := strings.Cut(line, " ")
	first, second, ok := strings.Cut(rest, " ")
	if !ok {
		return fmt.Errorf("want three words")
	}
	if kind == "fresh" {
		addr, err := netip.ParseAddr(second)
		ix.fresh[first] = addr
		return err
	}
	addr, err := netip.ParseAddr(first)
	if err != nil {
		return err
	}
	switch kind {
	case "leased":
		ix.leased[addr] = second
	case "resting":
		ix.resting[addr], err = strconv.ParseInt(second, 10, 64)
	default:
		err = fmt.Errorf("unknown kind %q", kind)
	}
	return err
}

func (ix *index) encode() []byte {
	var b bytes.Buffer
	b.WriteString(indexMagic + ix.boot + "\n")
	lines := make([]string, 0, len(ix.fresh)+len(ix.leased)+len(ix.resting))
	for name, a := range ix.fresh {
		lines = append(lines, "fresh "+name+" "+a.String())
	}
	for a, owner := range ix.leased {
		lines = append(lines, "leased "+a.String()+" "+owner)
	}
	for a, since := range ix.resting {
		lines = append(lines, "resting "+a.String()+" "+strconv.FormatInt(since, 10))
	}
	slices.Sort(lines)
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	b.WriteString("end\n")
	return b.Bytes()
}

// readIndex returns the index, rebuilt from the leases when there is none of
// this boot. The caller holds index.lock.
func (s *Store) readIndex() (*index, error) {
	data, err := os.ReadFile(s.path("index"))
	if err == nil {
		if ix, err := parseIndex(data); err == nil && ix.boot == s.boot {
			return ix, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return s.rebuildIndex()
}

// rebuildIndex derives the index from the leases of this boot. Resting
// addresses are forgotten: at a new boot nothing remembers them, and a lost
// index is rare enough.
func (s *Store) rebuildIndex() (*index, error) {
	leases, broken, err := s.Leases()
	if err != nil {
		return nil, err
	}
	ix := newIndex(s.boot)
	for _, l := range leases {
		if l.Boot != s.boot {
			continue
		}
		for _, a := range l.Addresses {
			ix.leased[a.Prefix.Addr()] = fileName(l.Key)
		}
	}
	// A record that cannot be read may hold an address. It was renamed into
	// place whole, so only a power cut makes one, and that ended its boot.
	// Should the file be of this boot all the same, its age says so.
	for _, b := range broken {
		if b.ThisBoot {
			return nil, fmt.Errorf("rebuild the index of network %s: %s cannot be read and is of this boot, so its addresses are unknown: "+
				"delete its container, or remove the file if the container is gone: %w", s.network, b.Path, b.Err)
		}
	}
	return ix, nil
}

// writeIndex puts ix in place. The caller holds index.lock.
func (s *Store) writeIndex(ix *index) error {
	failpoint.Hit("cni.ipam.index.before")
	defer failpoint.Hit("cni.ipam.index.after")
	return atomicfile.Replace(s.path("index"), ix.encode(), 0o600)
}
