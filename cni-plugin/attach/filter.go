package attach

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/cni-plugin/rules"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/flock"
)

// rules opens the connection to the packet filter once per call, and only for
// those that need it.
func (s *session) rules() (*rules.Table, error) {
	if s.table == nil {
		t, err := rules.Open()
		if err != nil {
			return nil, err
		}
		s.table = t
	}
	return s.table, nil
}

// addRules puts the pod's elements in place. The common case is one
// transaction and no question asked before: that the table is missing, or an
// element is in the way, the kernel says by refusing it.
func (s *session) addRules(p *rules.Pod) error {
	if p == nil {
		return nil
	}
	t, err := s.rules()
	if err != nil {
		return err
	}
	failpoint.Hit("cni.add.rules.before")
	err = t.Add(*p)
	if errors.Is(err, rules.ErrNotInstalled) {
		err = s.install(t, p)
	}
	if errors.Is(err, rules.ErrConflict) {
		if err = s.settle(t, p); err == nil {
			err = t.Add(*p)
		}
	}
	failpoint.Hit("cni.add.rules.after")
	return err
}

// behind runs a step of its own kernel object beside those that follow. Wait
// for it by calling what it returns.
func behind(step func() error) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- step() }()
	return func() error { return <-done }
}

// install writes the table whole, with the elements of every pod that is
// alive: when it was missing, so were theirs.
func (s *session) install(t *rules.Table, p *rules.Pod) error {
	pods := []rules.Pod{*p}
	networks, err := ipam.Networks(s.config.DataDir)
	if err != nil {
		return err
	}
	for _, network := range networks {
		leases, _, err := ipam.View(s.config.DataDir, network, s.store.Boot()).Leases()
		if err != nil {
			return err
		}
		for _, l := range leases {
			fx, err := recorded(l)
			if err != nil || fx.Rules == nil || l.State != ipam.Attached || l.Boot != s.store.Boot() || fx.Rules.Owner == p.Owner {
				continue
			}
			if alive, err := s.LinkExists(l.Link); err != nil {
				return err
			} else if alive {
				pods = append(pods, *fx.Rules)
			}
		}
	}
	s.installed = true
	// Dismantle, which takes the table away, holds the same lock.
	lock, err := s.rulesLock()
	if err != nil {
		return err
	}
	defer lock.Release() //nolint:errcheck // closing drops the lock whatever it says
	return t.Install(pods)
}

func (s *session) rulesLock() (*flock.Lock, error) {
	return flock.Acquire(filepath.Join(s.config.DataDir, ".rules.lock"))
}

// settle clears what is in the way of p's elements where it belongs to nobody
// any more, and names its owner where it does not.
func (s *session) settle(t *rules.Table, p *rules.Pod) error {
	conflicts, err := t.Conflicts(*p)
	if err != nil {
		return err
	}
	for _, c := range conflicts {
		// Under the pod's own address, which is leased to it, nobody else
		// can have anything.
		if c.Port == nil {
			continue
		}
		alive, err := s.holds(c.Owner, c)
		if err != nil {
			return err
		}
		if alive {
			return fail(CodeTaken, "runtimeConfig.portMappings: host port %d/%s is taken by %s (%s): choose another, or delete that container",
				c.Port.HostPort, c.Port.Protocol, c.Owner, c.Addr)
		}
	}
	return t.Evict(conflicts)
}

// holds tells whether the owner of an element has a lease that is alive. An
// owner of a store elsewhere cannot be judged and counts as alive.
func (s *session) holds(owner string, c rules.Conflict) (bool, error) {
	network, rest, ok := strings.Cut(owner, "/")
	at := strings.LastIndex(rest, "@")
	if !ok || at < 0 {
		return true, nil
	}
	store := s.store
	if network != s.config.Network {
		store = ipam.View(s.config.DataDir, network, s.store.Boot())
	}
	l, err := store.Get(ipam.Key{Network: network, ContainerID: rest[:at], IfName: rest[at+1:]})
	if isMissing(err) {
		return network != s.config.Network, nil
	}
	if err != nil {
		return false, fmt.Errorf("host port %d/%s is held by %s: %w", c.Port.HostPort, c.Port.Protocol, owner, err)
	}
	verdict, err := store.Judge(l, s)
	return verdict.Alive, err
}

// removeRules is the undoing of addRules.
func (s *session) removeRules(p *rules.Pod, certain bool) error {
	if p == nil {
		return nil
	}
	t, err := s.rules()
	if err != nil {
		return err
	}
	failpoint.Hit("cni.del.rules.before")
	if err := t.Remove(*p, certain); err != nil {
		return err
	}
	failpoint.Hit("cni.del.rules.after")
	return nil
}
