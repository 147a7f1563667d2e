package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/flock"
)

// Request says what addresses an attachment wants.
type Request struct {
	// Sets are the range sets; one address is leased out of each.
	Sets []RangeSet
	// Wanted are addresses asked for by name. Each must be in a set, and a
	// set serves one of them at most. They need not have rested.
	Wanted []netip.Addr
	// Rest is how long a freed address is withheld from everyone who did not
	// ask for it by name.
	Rest time.Duration
	// Complete fills in the rest of the lease once l.Addresses is set and
	// before it is written; nil for nothing. It must not block: the lock that
	// all allocations wait for is held.
	Complete func(l *Lease) error
}

// ExhaustedError says that a range set has no address to give now.
type ExhaustedError struct {
	Set     RangeSet
	Leased  int
	Resting int
	// Next is how long until the first resting address is free.
	Next time.Duration
}

func (e *ExhaustedError) Error() string {
	text := fmt.Sprintf("no free address in %s: 0 free, %d leased, %d resting", e.Set, e.Leased, e.Resting)
	if e.Resting > 0 {
		text += fmt.Sprintf(" (the next is free in %s)", e.Next.Round(time.Millisecond))
	}
	return text
}

// InUseError says that an address asked for by name is leased.
type InUseError struct {
	Addr netip.Addr
	// Owner is the file name of the lease that holds it.
	Owner string
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("address %s is leased to %s", e.Addr, e.Owner)
}

// ErrNotInRange means that an address asked for by name is in no range set, or
// that its set already serves another one.
var ErrNotInRange = errors.New("an address that was asked for is in no range set, is a gateway, or its set serves another that was asked for")

// Allocate leases addresses for l, sets l.Addresses, and writes l durably (two
// fsyncs, outside the lock that others wait for). The caller holds l's key
// lock, has set every other field, and has no lease under that key.
//
// Errors: *ExhaustedError, *InUseError, ErrNotInRange, or what the disk said; then nothing
// is leased.
func (s *Store) Allocate(l *Lease, req Request) error {
	if err := s.allocate(l, req); err != nil {
		return err
	}
	failpoint.Hit("cni.ipam.sync.before")
	if err := atomicfile.Sync(s.leasePath(l.Key)); err != nil {
		return fmt.Errorf("lease of %s: %w", l.ContainerID, err)
	}
	failpoint.Hit("cni.ipam.sync.after")
	return nil
}

func (s *Store) allocate(l *Lease, req Request) error {
	lock, err := flock.Acquire(s.path("index.lock"))
	if err != nil {
		return err
	}
	defer lock.Release() //nolint:errcheck // closing drops the lock whatever it says
	ix, err := s.readIndex()
	if err != nil {
		return err
	}
	owner := fileName(l.Key)
	// What an ADD of this key withheld before it was killed is not leased by
	// anyone: no lease names it, and its key lock is ours.
	ix.release(owner, s.Now())
	l.Addresses = nil
	wanted := req.Wanted
	for _, set := range req.Sets {
		var r Range
		var a netip.Addr
		r, a, wanted, err = ix.choose(set, wanted, s.Now(), req.Rest)
		if err != nil {
			return err
		}
		ix.take(r, a, owner)
		l.Addresses = append(l.Addresses, Address{netip.PrefixFrom(a, r.Subnet.Bits()), r.Gateway})
	}
	if len(wanted) > 0 {
		return fmt.Errorf("%w: %s", ErrNotInRange, wanted[0])
	}
	if req.Complete != nil {
		if err := req.Complete(l); err != nil {
			return err
		}
	}
	if len(l.Addresses) > 0 {
		if err := s.writeIndex(ix); err != nil {
			return err
		}
	}
	return s.Update(l)
}

// choose picks an address of set: one asked for by name; else the one that
// has rested longest, if long enough; else one never leased before. It costs
// as much as there are leases, whatever the size of the range.
func (ix *index) choose(set RangeSet, wanted []netip.Addr, now int64, rest time.Duration) (Range, netip.Addr, []netip.Addr, error) {
	for i, a := range wanted {
		r, ok := set.find(a)
		if !ok {
			continue
		}
		if owner, taken := ix.leased[a]; taken {
			return r, a, wanted, &InUseError{a, owner}
		}
		left := append(append([]netip.Addr{}, wanted[:i]...), wanted[i+1:]...)
		return r, a, left, nil
	}
	out := &ExhaustedError{Set: set}
	oldest, since := netip.Addr{}, int64(0)
	for a, t := range ix.resting {
		if _, ok := set.find(a); ok {
			out.Resting++
			if !oldest.IsValid() || t < since || t == since && a.Less(oldest) {
				oldest, since = a, t
			}
		}
	}
	if oldest.IsValid() && now-since >= int64(rest) {
		r, _ := set.find(oldest)
		return r, oldest, wanted, nil
	}
	for _, r := range set {
		if a, ok := ix.nextFresh(r); ok {
			return r, a, wanted, nil
		}
	}
	for a := range ix.leased {
		if _, ok := set.find(a); ok {
			out.Leased++
		}
	}
	if oldest.IsValid() {
		out.Next = rest - time.Duration(now-since)
	}
	return Range{}, netip.Addr{}, wanted, out
}

// nextFresh is the first address of r after the last fresh one that nobody
// holds: those asked for by name may lie ahead.
func (ix *index) nextFresh(r Range) (netip.Addr, bool) {
	a := r.Start
	if last, ok := ix.fresh[r.String()]; ok {
		a = last.Next()
	}
	for ; a.IsValid() && !r.End.Less(a); a = a.Next() {
		_, leased := ix.leased[a]
		_, resting := ix.resting[a]
		if r.Contains(a) && !leased && !resting {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (ix *index) take(r Range, a netip.Addr, owner string) {
	if _, rested := ix.resting[a]; rested {
		delete(ix.resting, a)
	} else if next, ok := ix.nextFresh(r); ok && next == a {
		ix.fresh[r.String()] = a
	}
	ix.leased[a] = owner
}

// release lets what owner holds rest from now on, and tells whether it held
// anything.
func (ix *index) release(owner string, now int64) bool {
	found := false
	for a, o := range ix.leased {
		if o == owner {
			delete(ix.leased, a)
			ix.resting[a] = now
			found = true
		}
	}
	return found
}
