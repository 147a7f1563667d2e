package dm

import (
	"errors"

	"github.com/varve-project/varve/internal/failpoint"
)

// Activate makes a device live with a table: created, loaded and resumed, its
// node in place; it returns the node's path. What fails midway is taken back;
// a crash midway leaves a device without a live table, which Remove removes.
// Three ioctls; of a failure one more, after it.
//
// A target type that is used for the first time is loaded as a module. The
// kernel loads few at once and fails the rest, so of a type that many devices
// will be made of at the same moment ask for TargetVersion first.
//
// Errors: those of Create, Load and Resume. After AlreadyExists the device
// that exists is as it was.
func (c *Control) Activate(name, uuid string, readOnly bool, targets ...Target) (string, error) {
	failpoint.Hit("dm.activate.create.before")
	if _, err := c.Create(name, uuid, CreateOptions{}); err != nil {
		return "", err
	}
	failpoint.Hit("dm.activate.create.after")
	if err := c.bringUp(name, readOnly, targets); err != nil {
		return "", errors.Join(err, c.Remove(name))
	}
	return c.Path(name), nil
}

func (c *Control) bringUp(name string, readOnly bool, targets []Target) error {
	failpoint.Hit("dm.activate.load.before")
	if err := c.Load(name, readOnly, targets...); err != nil {
		return err
	}
	failpoint.Hit("dm.activate.load.after")
	failpoint.Hit("dm.activate.resume.before")
	if err := c.Resume(name); err != nil {
		return err
	}
	failpoint.Hit("dm.activate.resume.after")
	return nil
}
