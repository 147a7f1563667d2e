package attach

import (
	"errors"
	"fmt"
	"time"

	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/cni-plugin/link"
	"github.com/varve-project/varve/internal/flock"
)

// reclaim frees what nobody stands behind any more: leases of an earlier boot
// or without their link, and addresses that a killed process withheld. It
// returns how many it freed, and goes on past errors.
func (s *session) reclaim() (int, error) {
	leases, _, err := s.store.Leases()
	if err != nil {
		return 0, err
	}
	freed := 0
	var errs []error
	for _, l := range leases {
		done, err := s.reclaimOne(l)
		if done {
			freed++
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.Key, err))
		}
	}
	held, err := s.store.Withheld(true)
	return freed + len(held), errors.Join(append(errs, err)...)
}

// reclaimOne frees l if it is dead. The verdict is given under its key lock,
// which is only tried: who works on it looks after it.
func (s *session) reclaimOne(l *ipam.Lease) (bool, error) {
	lock, err := s.store.TryLock(l.Key)
	if errors.Is(err, flock.ErrHeld) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer lock.Release() //nolint:errcheck // closing drops the lock whatever it says
	now, err := s.store.Get(l.Key)
	if isMissing(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if now.Boot == s.store.Boot() {
		if now.State == ipam.Imported {
			return false, nil
		}
		alive, err := s.LinkExists(now.Link)
		if err != nil || alive && now.State == ipam.Attached {
			return false, err
		}
	}
	return true, s.undo(now)
}

// sweep frees dead leases without being asked, once a minute at most. It works
// on sockets of its own, so it may go beside another step.
func (s *session) sweep() error {
	due, err := s.store.SweepDue(time.Minute)
	if err != nil || !due {
		return err
	}
	own := &session{config: s.config, store: s.store, stamp: s.stamp}
	if own.host, err = link.OpenHost(); err != nil {
		return err
	}
	defer own.close()
	_, err = own.reclaim()
	return err
}
