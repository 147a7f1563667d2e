package attach

import (
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/cni-plugin/rules"
	"github.com/varve-project/varve/internal/failpoint"
)

// Del takes the container off the network. It succeeds whatever is gone
// already: the namespace, the link, the record. It reads only the network's
// name and the store's place from the configuration, which may have changed
// since the ADD; what to undo stands in the record.
func (e *Engine) Del(call Call) error {
	c, err := ParseStore(call.Stdin)
	if err != nil {
		return err
	}
	s, err := e.open(c, call.Stamp)
	if err != nil {
		return err
	}
	defer s.close()
	k := call.key(c.Network)
	lock, err := s.store.Lock(k)
	if err != nil {
		return fail(types.ErrIOFailure, "%v", err)
	}
	defer lock.Release() //nolint:errcheck // closing drops the lock whatever it says
	if err := s.store.Bury(k, s.stamp); ipam.IsFull(err) {
		// No ADD gets far on a full disk either. The DEL makes room, maybe
		// enough for the tombstone.
		defer s.store.Bury(k, s.stamp) //nolint:errcheck // see above
	} else if err != nil {
		return fail(types.ErrIOFailure, "%v", err)
	}
	l, err := s.store.Get(k)
	var broken *ipam.BrokenError
	switch {
	case isMissing(err) || errors.As(err, &broken):
		return s.undoUnread(k)
	case err != nil:
		return fail(types.ErrIOFailure, "%v", err)
	case l.Boot == s.store.Boot() && l.Stamp > s.stamp:
		// The DEL waited while a later life of the key began.
		return nil
	}
	// The kernel takes its time over the links: a good moment to look for what
	// nobody will ever ask a DEL for. What goes wrong with those is not this
	// call's, and the next sweep meets it again.
	sweep := behind(s.sweep)
	defer sweep() //nolint:errcheck // see above
	return s.undo(l)
}

// undo removes everything that l names and then l itself, so that a process
// killed in between leaves l for the next one.
func (s *session) undo(l *ipam.Lease) error {
	if l.Boot == s.store.Boot() {
		if l.State != ipam.Deleting {
			marked := *l
			marked.State = ipam.Deleting
			// Without room for the mark the record says less, and who finds
			// it undoes the same.
			if err := s.store.Update(&marked); err != nil && !ipam.IsFull(err) {
				return fail(types.ErrIOFailure, "%v", err)
			}
		}
		if err := s.undoKernel(l); err != nil {
			return coded(CodeKernel, err)
		}
	}
	if err := s.store.Release(l.Key); err != nil {
		return fail(types.ErrIOFailure, "%v", err)
	}
	return nil
}

// undoKernel removes what l names from the kernel: first what leads packets to
// the pod, then its links. Nothing of it outlives a boot.
func (s *session) undoKernel(l *ipam.Lease) error {
	fx, err := recorded(l)
	if err != nil {
		return fmt.Errorf("effects of %s: %w", l.Key, err)
	}
	// Once Attached, the elements are known to be all there and ours.
	if err := s.removeRules(fx.Rules, l.State == ipam.Attached); err != nil {
		return err
	}
	forget := behind(func() error {
		if fx.Rules == nil {
			return nil
		}
		failpoint.Hit("cni.del.flows.before")
		defer failpoint.Hit("cni.del.flows.after")
		return rules.ForgetPod(*fx.Rules)
	})
	return errors.Join(s.deleteLinks(l.Key), forget())
}

func (s *session) deleteLinks(k ipam.Key) error {
	failpoint.Hit("cni.del.links.before")
	defer failpoint.Hit("cni.del.links.after")
	return s.host.Delete(aliasPrefix(k), hostName(k), ifbName(k))
}

// undoUnread is undo for a key whose record is gone or cannot be read: the
// link is found by its name.
func (s *session) undoUnread(k ipam.Key) error {
	if err := s.deleteLinks(k); err != nil {
		return fail(CodeKernel, "%v", err)
	}
	if err := s.store.Release(k); err != nil {
		return fail(types.ErrIOFailure, "%v", err)
	}
	return nil
}
