package attach

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/internal/failpoint"
)

// Dismantle takes away what the attachments of a network share and leave for
// the next one: the packet rules, if no pod of any network has some, and the
// bridge, if an ADD made it and nothing is on it. The next ADD makes both
// again. conf is a configuration list, or one plug-in's. What stays is
// returned with the reason; while the network has attachments, all does.
func (e *Engine) Dismantle(conf []byte) (stays []string, err error) {
	own, err := ownPart(conf)
	if err != nil {
		return nil, err
	}
	c, err := Parse(own, "")
	if err != nil {
		return nil, err
	}
	s, err := e.open(c, ipam.BootTime())
	if err != nil {
		return nil, err
	}
	defer s.close()
	err = s.store.WhileIdle(func() error {
		stays, err = s.dismantle()
		return err
	})
	if errors.Is(err, ipam.ErrInUse) {
		return []string{err.Error()}, nil
	}
	return stays, coded(types.ErrIOFailure, err)
}

func (s *session) dismantle() (stays []string, err error) {
	t, err := s.rules()
	if err != nil {
		return nil, err
	}
	// A network's first ADD writes chains that Dismantle has not seen: not
	// between its look and its deed.
	lock, err := s.rulesLock()
	if err != nil {
		return nil, err
	}
	defer lock.Release() //nolint:errcheck // closing drops the lock whatever it says
	failpoint.Hit("cni.dismantle.rules.before")
	done, err := t.Dismantle()
	failpoint.Hit("cni.dismantle.rules.after")
	if err != nil {
		return nil, err
	}
	if !done {
		stays = append(stays, "packet rules: pods of another network have some")
	}
	if done {
		if err := s.withdrawForward(); err != nil {
			return stays, err
		}
	}
	failpoint.Hit("cni.dismantle.bridge.before")
	why, err := s.host.DeleteBridge(s.config.Bridge)
	failpoint.Hit("cni.dismantle.bridge.after")
	if why != "" {
		stays = append(stays, fmt.Sprintf("bridge %s: %s", s.config.Bridge, why))
	}
	return stays, err
}

// ownPart is what libcni would give this plug-in of a configuration list.
func ownPart(conf []byte) ([]byte, error) {
	var list struct {
		Name, CNIVersion string
		Plugins          []map[string]any
	}
	if err := json.Unmarshal(conf, &list); err != nil {
		return nil, fail(types.ErrDecodingFailure, "the network configuration is not JSON: %v", err)
	}
	if list.Plugins == nil {
		return conf, nil
	}
	for _, plugin := range list.Plugins {
		if plugin["type"] == "varve-cni" {
			plugin["name"], plugin["cniVersion"] = list.Name, list.CNIVersion
			return json.Marshal(plugin)
		}
	}
	return nil, fail(types.ErrInvalidNetworkConfig, "network %s has no plug-in of type varve-cni: there is nothing of ours to take away", list.Name)
}
