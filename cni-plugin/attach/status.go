package attach

import (
	"errors"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/cni-plugin/link"
)

// Status says whether an ADD would find what it needs: nil, or 50 with the
// reason. Runtimes ask every few seconds, so it looks one
// link up, and where the known firewalls have their chains, and writes nothing.
func (e *Engine) Status(call Call) error {
	c, err := Parse(call.Stdin, "")
	if err != nil {
		return err
	}
	if err := writable(c.DataDir); err != nil {
		return fail(types.ErrPluginNotAvailable, "the lease store %s cannot be written: %v", c.DataDir, err)
	}
	host, err := link.OpenHost()
	if err != nil {
		return fail(types.ErrPluginNotAvailable, "%v", err)
	}
	defer host.Close()
	br, err := host.ByName(c.Bridge)
	if errors.Is(err, link.ErrNotFound) {
		return forwardStatus(c) // the first ADD makes it
	}
	if err != nil {
		return fail(types.ErrPluginNotAvailable, "%v", err)
	}
	if br.Type() != "bridge" {
		return fail(types.ErrPluginNotAvailable, "bridge %s: a link of this name exists and is a %s: name another, or remove it", c.Bridge, br.Type())
	}
	return forwardStatus(c)
}

// writable asks about dir, or about the nearest folder above it that exists.
func writable(dir string) error {
	for {
		err := unix.Access(dir, unix.W_OK|unix.X_OK)
		if !errors.Is(err, unix.ENOENT) || dir == "/" {
			return err
		}
		dir = parent(dir)
	}
}
