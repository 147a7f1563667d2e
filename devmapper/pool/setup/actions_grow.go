package setup

import (
	"context"
	"errors"
	"fmt"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/internal/loop"
)

// GrowFile is the action of enlarging a file and the loop devices over it.
type GrowFile struct {
	Path  string
	Bytes uint64
}

// Shell is the command line.
func (g GrowFile) Shell() string {
	return MakeFile(g).Shell() + "; losetup --set-capacity of its loop device"
}

func (g GrowFile) do(ctx context.Context, h *Host) error {
	if err := MakeFile(g).do(ctx, h); err != nil {
		return err
	}
	found, err := loop.Find(g.Path)
	if err != nil {
		return err
	}
	for _, d := range found {
		if err := loop.Resize(d.Path); err != nil {
			return err
		}
	}
	return nil
}

// GrowTables is the action of giving a pool without LVM longer tables. The
// devices are suspended without a flush, because a pool that is full would
// never end one, and for the moment only.
type GrowTables struct {
	// Data and Pool are device-mapper names; Bytes is the data space to have.
	Data, Pool string
	Bytes      uint64
}

// Shell says what is done.
func (g GrowTables) Shell() string {
	return fmt.Sprintf("dmsetup reload %s and %s with %d sectors; dmsetup suspend --noflush and resume each", g.Data, g.Pool, g.Bytes/512)
}

func (g GrowTables) do(context.Context, *Host) error {
	ctl, err := dm.Open()
	if err != nil {
		return err
	}
	defer func() { _ = ctl.Close() }()
	for _, name := range []string{g.Data, g.Pool} {
		table, err := ctl.Table(name)
		if err != nil {
			return err
		}
		if len(table) != 1 {
			return fmt.Errorf("device %s has a table of %d lines, want 1", name, len(table))
		}
		table[0].Length = max(table[0].Length, g.Bytes/512)
		if err := ctl.Load(name, false, table[0]); err != nil {
			return err
		}
		err = ctl.Suspend(name, dm.SuspendOptions{NoFlush: true, SkipLockFS: true})
		if err := errors.Join(err, ctl.Resume(name)); err != nil {
			return err
		}
	}
	return nil
}
