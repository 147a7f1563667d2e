package devmapper

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/snapshotter/limits"
	"github.com/varve-project/varve/snapshotter/metadata"
)

// Commit turns the active snapshot key into the committed snapshot name. Its
// data is durable before the record says so, and nothing that still has it
// mounted can change it afterwards.
func (d *Driver) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	if err := d.commit(ctx, name, key, opts); err != nil {
		return fmt.Errorf("commit snapshot %q as %q: %w", key, name, err)
	}
	return nil
}

// commitment is one Commit on its way.
type commitment struct {
	name, key string
	info      snapshots.Info
	id        string // the store's number
	before    device // the active snapshot's
	after     device // the committed one's; another thin device where that was open
}

func (d *Driver) commit(ctx context.Context, name, key string, opts []snapshots.Opt) error {
	c := &commitment{name: name, key: key}
	if err := limits.Key("name", name); err != nil {
		return err
	}
	info, request, err := d.gather(opts)
	if err != nil {
		return err
	}
	c.info = info
	release, err := d.keys.take(ctx, key)
	if err != nil {
		return err
	}
	defer release()
	if err := d.store.Read(ctx, c.look); err != nil {
		return err
	}
	if err := request.mustBe(c.before.FSType, "the snapshot"); err != nil {
		return err
	}
	if err := d.settle(ctx, c); err != nil {
		return err
	}
	moved := c.after.Thin != c.before.Thin
	failpoint.Hit("devmapper.commit.metadata.before")
	err = d.store.Do(context.WithoutCancel(ctx), metadata.Write{
		Check: c.look,
		Apply: c.apply,
		Done: func() {
			if moved {
				d.flying.land(c.after.Thin)
				d.trash.add(c.before.Thin, c.refuse(), true)
			}
		},
	})
	if err != nil {
		if moved {
			d.discard(c.after.Thin, name)
		}
		return err
	}
	failpoint.Hit("devmapper.commit.metadata.after")
	if !moved {
		d.rest(c.after.Thin, name)
	}
	return nil
}

// look answers what can be answered without a change; ctx carries a
// transaction. It runs again in the one that makes the change.
func (c *commitment) look(ctx context.Context) error {
	if _, _, _, err := storage.GetInfo(ctx, c.name); err == nil {
		return fmt.Errorf("snapshot %q exists already: %w", c.name, errdefs.ErrAlreadyExists)
	}
	id, info, _, err := storage.GetInfo(ctx, c.key)
	if err != nil {
		return err
	}
	if info.Kind != snapshots.KindActive {
		return fmt.Errorf("it is %s; only an active snapshot can be committed: %w",
			strings.ToLower(info.Kind.String()), errdefs.ErrFailedPrecondition)
	}
	if c.info.Parent != "" && c.info.Parent != info.Parent {
		return fmt.Errorf("parent %q: it was prepared on %q, and a block snapshot has the blocks of that one; prepare it on %q and write its changes again (the plug-in does not offer \"rebase\"): %w",
			c.info.Parent, info.Parent, c.info.Parent, errdefs.ErrInvalidArgument)
	}
	c.id = id
	c.before, err = getDevice(ctx, id)
	return err
}

func (c *commitment) refuse() refuse { return refuse{Of: c.key, Lent: true} }

func (c *commitment) apply(ctx context.Context) error {
	own := c.after.Held.own(c.after.Base)
	_, err := storage.CommitActive(ctx, c.key, c.name, snapshots.Usage{Size: own.Bytes, Inodes: own.Inodes}, func(i *snapshots.Info) error {
		i.Labels, i.Parent = c.info.Labels, c.info.Parent
		return nil
	})
	if err != nil {
		return err
	}
	if c.after.Thin != c.before.Thin {
		if err := put(ctx, trashBucket, thinKey(c.before.Thin), c.refuse()); err != nil {
			return err
		}
	}
	return put(ctx, deviceBucket, []byte(c.id), c.after)
}

// settle makes the snapshot's data durable and measures it.
func (d *Driver) settle(ctx context.Context, c *commitment) (err error) {
	c.after = c.before
	path, open, err := d.wake(ctx, c.before)
	if err != nil {
		return err
	}
	if open > 0 {
		return d.settleOpen(ctx, c, path)
	}
	failpoint.Hit("devmapper.commit.flush.before")
	if err := flush(path); err != nil {
		return err
	}
	failpoint.Hit("devmapper.commit.flush.after")
	super, held, err := onDisk(path, c.before.FSType)
	if err != nil {
		return err
	}
	if super.Dirty {
		// A crash, or a virtual machine that was killed: what the superblock
		// counts is from before.
		if held, err = heal(path, c.before); err != nil {
			return err
		}
	}
	c.after.Held = held
	return nil
}

// settleOpen commits a copy of a snapshot that somebody still has mounted, or
// a virtual machine has open: a thin snapshot of it as it is now. So the
// committed snapshot never changes, whatever the writer goes on to do; what he
// has open is deleted when he closes it.
func (d *Driver) settleOpen(ctx context.Context, c *commitment, path string) error {
	mounted, err := mountedHere(path, c.before.FSType)
	if err != nil {
		return err
	}
	var held fill
	if mounted {
		held, err = live(path, c.before)
	} else {
		_, held, err = onDisk(path, c.before.FSType)
	}
	if err != nil {
		return err
	}
	id, err := d.newID(ctx)
	if err != nil {
		return err
	}
	failpoint.Hit("devmapper.commit.snapshot.before")
	if err := d.pool.Snapshot(ctx, id, c.before.Thin); err != nil {
		d.discard(id, c.name)
		return err
	}
	failpoint.Hit("devmapper.commit.snapshot.after")
	c.after.Thin, c.after.Held = id, held
	return nil
}

// wake makes sure that the device is active, and tells how often it is open.
// One that a reboot left inactive has its journal replayed.
func (d *Driver) wake(ctx context.Context, dev device) (path string, open int, err error) {
	active, open, _, err := d.pool.Active(ctx, dev.Thin)
	if err != nil {
		return "", 0, err
	}
	if active {
		if open > 0 {
			open, err = d.patience(ctx, dev)
		}
		return d.pool.Path(dev.Thin), open, err
	}
	path, err = d.pool.Activate(ctx, dev.Thin, pool.Activation{Bytes: uint64(dev.Bytes)})
	if err != nil {
		return "", 0, err
	}
	_, err = heal(path, dev)
	return path, 0, err
}

// rest deactivates the device of a committed snapshot, so that no snapshot of
// it has to suspend it. Nothing fails when that fails: the next start tries
// again, and the pool can make snapshots of active devices too.
func (d *Driver) rest(id pool.ThinID, of string) {
	failpoint.Hit("devmapper.commit.deactivate.before")
	if err := d.pool.Deactivate(context.Background(), id, true); err != nil {
		d.log.WithError(err).WithField("snapshot", of).Warn("cannot deactivate a committed snapshot's device")
	}
	failpoint.Hit("devmapper.commit.deactivate.after")
}
