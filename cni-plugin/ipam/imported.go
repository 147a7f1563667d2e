package ipam

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/flock"
)

// HostLocalDir is where host-local keeps its networks unless told otherwise.
const HostLocalDir = "/var/lib/cni/networks"

// ImportHostLocal takes over, once in the life of the store, what the
// reference plug-in host-local has reserved for this network in dir (a folder
// of files named by address): each becomes a lease of state Imported, which
// withholds its addresses until a DEL or GC of its container. Reservations of
// an earlier boot are leaks of host-local's and are left out, as are empty
// files. Nothing of host-local's is changed.
func (s *Store) ImportHostLocal(dir string) error {
	done := s.path("imported")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	lock, err := flock.Acquire(s.path("index.lock"))
	if err != nil {
		return err
	}
	defer lock.Release() //nolint:errcheck // closing drops the lock whatever it says
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	leases, err := s.reservations(filepath.Join(dir, s.network))
	if err != nil {
		return fmt.Errorf("import the reservations of host-local: %w", err)
	}
	ix, err := s.readIndex()
	if err != nil {
		return err
	}
	for _, l := range leases {
		if err := s.importOne(ix, l); err != nil {
			return err
		}
	}
	if err := s.writeIndex(ix); err != nil {
		return err
	}
	failpoint.Hit("cni.ipam.imported.before")
	defer failpoint.Hit("cni.ipam.imported.after")
	return atomicfile.Replace(done, fmt.Appendf(nil, "%d from %s\n", len(leases), dir), 0o600)
}

// importOne writes the lease, unless its key has one. One that an import wrote
// that was killed is taken as it is.
func (s *Store) importOne(ix *index, l *Lease) error {
	have, err := s.Get(l.Key)
	switch {
	case err == nil && have.State != Imported:
		return nil
	case err == nil:
		l = have
	case !errors.Is(err, fs.ErrNotExist):
		return nil // unreadable: whatever it is, it is that key's
	}
	if err := s.Update(l); err != nil {
		return err
	}
	for _, a := range l.Addresses {
		if _, taken := ix.leased[a.Prefix.Addr()]; !taken {
			ix.leased[a.Prefix.Addr()] = fileName(l.Key)
		}
	}
	return nil
}

// reservations reads host-local's files, gathered by attachment.
func (s *Store) reservations(dir string) ([]*Lease, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	booted := time.Now().Add(-time.Duration(s.Now()))
	byKey := map[Key]*Lease{}
	var out []*Lease
	for _, e := range entries {
		// host-local writes "_" for ":" where the latter cannot be.
		addr, err := netip.ParseAddr(strings.ReplaceAll(e.Name(), "_", ":"))
		info, infoErr := e.Info()
		if err != nil || infoErr != nil || info.ModTime().Before(booted) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		k, ok := s.reservedBy(string(data))
		if !ok {
			continue
		}
		if byKey[k] == nil {
			byKey[k] = &Lease{
				Version: RecordVersion, Key: k, State: Imported, Boot: s.boot, Stamp: 0,
				Written: info.ModTime().UTC().Format(time.RFC3339Nano),
			}
			out = append(out, byKey[k])
		}
		l := byKey[k]
		l.Addresses = append(l.Addresses, Address{Prefix: netip.PrefixFrom(addr, addr.BitLen())})
	}
	return out, nil
}

// reservedBy reads a reservation: the container, and since host-local 0.7 the
// interface, each on a line.
func (s *Store) reservedBy(text string) (Key, bool) {
	words := strings.Fields(text)
	if len(words) == 0 || strings.ContainsAny(text, "/@\x00") {
		return Key{}, false
	}
	k := Key{Network: s.network, ContainerID: words[0], IfName: "eth0"}
	if len(words) > 1 {
		k.IfName = words[1]
	}
	return k, true
}
