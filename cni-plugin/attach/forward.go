package attach

import (
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/varve-project/varve/cni-plugin/firewall"
	"github.com/varve-project/varve/internal/flock"
)

// passForward gets the pods' packets through foreign chains that drop by
// default. Each ADD looks where the known firewalls have theirs, since they may
// have come, or have been loaded anew, after the last; with all, at every chain.
func (s *session) passForward(all bool) error {
	if !s.config.ForwardRule {
		return nil
	}
	w, err := firewall.Open(s.subnets())
	if err != nil {
		return err
	}
	defer w.Close()
	drops, err := w.Drops(all)
	if err != nil || !closed(drops) {
		return err
	}
	// Two that find the rule missing must not both put it there.
	lock, err := flock.Acquire(filepath.Join(s.config.DataDir, ".forward.lock"))
	if err != nil {
		return err
	}
	defer lock.Release() //nolint:errcheck // closing drops the lock whatever it says
	if drops, err = w.Drops(all); err != nil {
		return err
	}
	return w.Allow(drops)
}

func closed(drops []firewall.Drop) bool {
	for _, d := range drops {
		if !d.Open {
			return true
		}
	}
	return false
}

// subnets are those of the configuration's ranges.
func (s *session) subnets() []netip.Prefix {
	var out []netip.Prefix
	for _, set := range s.config.Ranges {
		for _, r := range set {
			out = appendNew(out, r.Subnet)
		}
	}
	return out
}

// forwardStatus is STATUS's look at the known firewalls: nil, or 50 naming the
// chain that drops and that no rule can be put into. It changes nothing.
func forwardStatus(c *Config) error {
	if !c.ForwardRule {
		return nil
	}
	w, err := firewall.Open((&session{config: c}).subnets())
	if err != nil {
		return fail(types.ErrPluginNotAvailable, "%v", err)
	}
	defer w.Close()
	drops, err := w.Drops(false)
	if err != nil {
		return fail(types.ErrPluginNotAvailable, "%v", err)
	}
	for _, d := range drops {
		if !d.Open && d.Blocked != "" {
			return fail(types.ErrPluginNotAvailable, "%s drops forwarded packets, and no rule for the pods can be put there: %s", d.Chain, d.Blocked)
		}
	}
	return nil
}

// withdrawForward takes our rules out of foreign chains.
func (s *session) withdrawForward() error {
	w, err := firewall.Open(s.subnets())
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Withdraw(); err != nil {
		return fmt.Errorf("take the rule for pods out of foreign chains: %w", err)
	}
	return nil
}
