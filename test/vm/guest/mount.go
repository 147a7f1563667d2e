package guest

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mount is one mount(2), whose target is made when missing.
type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
		return fmt.Errorf("mounting %s (%s, %s) on %s: %w", m.fstype, m.source, m.data, m.target, err)
	}
	return nil
}

// plan is mounts in their order.
type plan []mount

func (p plan) do() error {
	for _, m := range p {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}
