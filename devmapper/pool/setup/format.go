package setup

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/loop"
	"github.com/varve-project/varve/internal/mount"
)

// Format is the action of making a pool's catalog and its record. What is
// there already, with the same UUID, stays.
type Format struct {
	Config pool.Config
	UUID   string
	// Chunk and Zero are of a pool without LVM; LVM keeps its own.
	Chunk uint64
	Zero  bool
}

// Shell says what is done.
func (f Format) Shell() string {
	return fmt.Sprintf("mkfs.ext4 -L %s -U %s on the catalog, and the pool's record in it", pool.CatalogLabel, f.UUID)
}

func (s *site) planFormat(p *Plan) {
	p.add("format", "format the catalog and write the pool's record", Format{s.location(), s.id, s.chunk, !s.SkipZeroing})
}

func (f Format) do(ctx context.Context, h *Host) (err error) {
	v, err := pool.Describe(f.Config)
	if err != nil {
		return err
	}
	id := pool.Identity{UUID: f.UUID, Bytes: pool.CatalogBytes, BlockBytes: f.Chunk, Zero: f.Zero}
	switch v.Kind {
	case pool.KindDevices:
		id.Node = v.Data
	case pool.KindLoop:
		d, err := loop.Attach(ctx, v.CatalogFile, loop.Options{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, loop.Detach(context.WithoutCancel(ctx), d)) }()
		id.Node = d.Path
	default:
		if err := f.volumes(ctx, h, v, &id); err != nil {
			return err
		}
	}
	if err := f.clear(id.Node); err != nil {
		return err
	}
	return pool.FormatCatalog(ctx, id)
}

// volumes fills id from what LVM made.
func (f Format) volumes(ctx context.Context, h *Host, v pool.Volumes, id *pool.Identity) error {
	g, err := h.LookGroup(ctx, v.Group)
	if err != nil {
		return err
	}
	lv, catalog := g.Volume(v.Pool), g.Volume(v.Catalog)
	if lv == nil || catalog == nil {
		return fmt.Errorf("volume group %s has lost the volume %s or %s since this command looked", v.Group, v.Pool, v.Catalog)
	}
	if !catalog.Active {
		if _, err := h.run(ctx, lvm("lvchange", "--activate", "y", v.Group+"/"+v.Catalog)...); err != nil {
			return err
		}
	}
	id.Node = dm.Path(lvmDevice(v.Group, v.Catalog))
	id.Bytes, id.BlockBytes, id.Volume = roundDown(catalog.Bytes, mib), lv.Chunk, lv.UUID
	// LVM keeps the pool's zeroing itself.
	id.Zero = false
	return nil
}

// clear blanks the start of a catalog that a killed mkfs has half written. The
// plan has made sure that the device is this pool's.
func (f Format) clear(node string) error {
	super, err := mount.ReadSuperOf(node)
	if err != nil || super.FSType != "" {
		return err // FormatCatalog compares the UUIDs
	}
	return Zero{Device: node, Bytes: mib}.run()
}

// hasLVM tells whether LVM is installed.
func (h *Host) hasLVM() bool {
	_, err := exec.LookPath("lvm")
	return err == nil
}
