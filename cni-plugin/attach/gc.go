package attach

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/internal/flock"
)

func parent(dir string) string { return filepath.Dir(dir) }

// GC frees what the network recorded and the runtime's list does not have, and
// what is dead anyway. A configuration without a list frees nothing at all:
// who sends none has not said that there are none. It goes on past errors and
// returns them together.
func (e *Engine) GC(call Call) error {
	c, err := Parse(call.Stdin, "")
	if err != nil {
		return err
	}
	if c.Valid == nil {
		return nil
	}
	s, err := e.open(c, call.Stamp)
	if err != nil {
		return err
	}
	defer s.close()
	valid := map[types.GCAttachment]bool{}
	for _, a := range *c.Valid {
		valid[a] = true
	}
	leases, broken, err := s.store.Leases()
	if err != nil {
		return fail(types.ErrIOFailure, "%v", err)
	}
	var errs []error
	for _, l := range leases {
		if valid[types.GCAttachment{ContainerID: l.ContainerID, IfName: l.IfName}] {
			continue
		}
		if err := s.collect(l); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.Key, err))
		}
	}
	for _, b := range broken {
		errs = append(errs, b)
	}
	if _, err := s.store.Withheld(true); err != nil {
		errs = append(errs, err)
	}
	if err := s.store.Tidy(); err != nil {
		errs = append(errs, err)
	}
	return coded(types.ErrIOFailure, errors.Join(errs...))
}

// collect frees one lease that the runtime does not know. An ADD that began
// after the runtime drew up its list is not on it: whoever holds the key lock,
// or was stamped after this GC, is left alone.
func (s *session) collect(l *ipam.Lease) error {
	lock, err := s.store.TryLock(l.Key)
	if errors.Is(err, flock.ErrHeld) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Release() //nolint:errcheck // closing drops the lock whatever it says
	now, err := s.store.Get(l.Key)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if now.Boot == s.store.Boot() && now.Stamp > s.stamp {
		return nil
	}
	return s.undo(now)
}
