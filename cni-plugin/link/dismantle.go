package link

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink"
)

// bridgeAlias marks a bridge that EnsureBridge made, so that one which it only
// adopted is never taken away.
const bridgeAlias = "bridge of varve-cni"

// DeleteBridge removes a bridge that EnsureBridge made and that has no ports.
// It returns why the bridge stays, "" when it is gone. The caller sees to it
// that no port is being added.
func (h *Host) DeleteBridge(name string) (stays string, err error) {
	l, err := h.ByName(name)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if _, ok := l.(*netlink.Bridge); !ok || l.Attrs().Alias != bridgeAlias {
		return "varve-cni did not make it", nil
	}
	links, err := h.List()
	if err != nil {
		return "", fmt.Errorf("bridge %s: list its ports: %w", name, err)
	}
	for _, port := range links {
		if port.Attrs().MasterIndex == l.Attrs().Index {
			return "it has the port " + port.Attrs().Name, nil
		}
	}
	if err := h.h.LinkDel(l); err != nil && !errors.Is(err, syscall.ENODEV) {
		return "", fmt.Errorf("bridge %s: delete: %w", name, err)
	}
	return "", nil
}
