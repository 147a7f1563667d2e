package ipam

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/varve-project/varve/internal/flock"
)

// Judge says whether l still stands for something, and why. A namespace path
// that is gone proves nothing and is not looked at.
func (s *Store) Judge(l *Lease, p Probe) (Liveness, error) {
	if l.Boot != s.boot {
		return Liveness{false, fmt.Sprintf("it is of boot %s, and this is boot %s", l.Boot, s.boot)}, nil
	}
	if l.State == Imported {
		return Liveness{true, "host-local had reserved it, and no DEL or GC has freed it"}, nil
	}
	exists, err := p.LinkExists(l.Link)
	if err != nil {
		return Liveness{}, err
	}
	if exists {
		return Liveness{true, fmt.Sprintf("its host link %s exists", l.Link.Name)}, nil
	}
	held, err := s.held(l.Key)
	if err != nil {
		return Liveness{}, err
	}
	if held {
		return Liveness{true, "an operation on it is under way"}, nil
	}
	return Liveness{false, fmt.Sprintf("its host link %s is gone and no operation on it is under way", l.Link.Name)}, nil
}

// held tells whether a process works on k. It leaves no lock file behind.
func (s *Store) held(k Key) (bool, error) {
	if _, err := os.Stat(s.keyLockPath(k)); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	lock, err := s.TryLock(k)
	if errors.Is(err, flock.ErrHeld) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, lock.Release()
}

// Withheld is an address that the index holds for an owner without a lease.
type Withheld struct {
	Addr  string
	Owner string
}

// Withheld lists the addresses that a killed ADD or DEL left in the index
// without a lease, and with free makes them rest. One whose owner an operation
// works on is left out.
func (s *Store) Withheld(free bool) ([]Withheld, error) {
	if _, err := os.Stat(s.dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	lock, err := flock.Acquire(s.path("index.lock"))
	if err != nil {
		return nil, err
	}
	defer lock.Release() //nolint:errcheck // closing drops the lock whatever it says
	ix, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var out []Withheld
	for a, owner := range ix.leased {
		orphan, err := s.ownerless(owner)
		if err != nil {
			return nil, err
		}
		if orphan {
			out = append(out, Withheld{a.String(), owner})
		}
	}
	if !free || len(out) == 0 {
		return out, nil
	}
	for _, w := range out {
		ix.release(w.Owner, s.Now())
	}
	return out, s.writeIndex(ix)
}

// ownerless tells whether no lease and no operation stands behind an owner of
// the index. A lease file that cannot be read stands behind it.
func (s *Store) ownerless(owner string) (bool, error) {
	if strings.ContainsRune(owner, '/') {
		return false, fmt.Errorf("index of network %s: owner %q is not a file name", s.network, owner)
	}
	if _, err := os.Stat(s.path("leases/" + owner)); err == nil || !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	path := s.path("locks/" + owner)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	lock, err := s.tryLockFile(path)
	if errors.Is(err, flock.ErrHeld) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, lock.Release()
}
