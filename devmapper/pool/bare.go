package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/loop"
)

// bareSite is a pool without LVM: on two block devices, or on three files over
// loop devices. We make its tables:
//
//	varve-XXXXXXXXXXXX-catalog   linear, the start of the data device
//	varve-XXXXXXXXXXXX-data      linear, the rest of it
//	varve-XXXXXXXXXXXX-pool      thin-pool
type bareSite struct {
	p *Pool
	// data, metadata are nodes; holder is where the catalog lies.
	data, metadata, holder string
	// reserved is what the catalog takes at the start of data.
	reserved uint64
	names    names
}

func (s *bareSite) catalog(ctx context.Context) (string, error) {
	v := s.p.volumes
	s.data, s.metadata, s.holder = v.Data, v.Metadata, v.Data
	if v.Kind == KindLoop {
		if err := s.attach(ctx); err != nil {
			return "", err
		}
	}
	for key, node := range map[string]string{"data_device": s.data, "metadata_device": s.metadata} {
		if _, err := numberOf(node); err != nil {
			return "", fmt.Errorf("%s: %w", key, err)
		}
	}
	super, err := readCatalogSuper(s.holder)
	if errors.Is(err, errNoCatalog) {
		return "", fmt.Errorf("%w; make a pool there with `varve-devmapper pool create`", err)
	}
	if err != nil {
		return "", err
	}
	s.names = names{pool: super.uuid}
	if s.holder == s.data {
		s.reserved = super.bytes
	}
	number, err := numberOf(s.holder)
	if err != nil {
		return "", err
	}
	return s.ensure("pool.open.catalog", tailCatalog, dm.Target{
		Length: super.bytes / sector, Type: targetLinear, Params: number + " 0",
	})
}

// attach finds or makes the loop devices of a loop directory.
func (s *bareSite) attach(ctx context.Context) error {
	v := s.p.volumes
	for _, f := range []struct {
		path string
		node *string
	}{{v.CatalogFile, &s.holder}, {v.Metadata, &s.metadata}, {v.Data, &s.data}} {
		found, err := loop.Find(f.path)
		if err != nil {
			return fmt.Errorf("loop_directory: %w", err)
		}
		if len(found) > 1 {
			return fmt.Errorf("loop_directory: %s is attached to %d loop devices (%s, %s, …): detach all but the one in use: %w", f.path, len(found), found[0].Path, found[1].Path, errdefs.ErrFailedPrecondition)
		}
		if len(found) == 1 {
			*f.node = found[0].Path
			continue
		}
		failpoint.Hit("pool.open.loop.before")
		d, err := loop.Attach(ctx, f.path, loop.Options{})
		failpoint.Hit("pool.open.loop.after")
		if err != nil {
			return fmt.Errorf("loop_directory: %w", err)
		}
		*f.node = d.Path
	}
	return nil
}

func (s *bareSite) pool(_ context.Context, r record) (string, error) {
	size, err := sizeOf(s.data)
	if err != nil {
		return "", err
	}
	if size < s.reserved+max(r.DataBytes, r.BlockBytes) {
		return "", fmt.Errorf("data device %s shrank: it has %d bytes, the pool needs %d for the catalog and %d for its data; nothing was written; give the device its size back: %w", s.data, size, s.reserved, max(r.DataBytes, r.BlockBytes), errdefs.ErrUnavailable)
	}
	if active, err := s.active(); err != nil {
		return "", err
	} else if !active {
		if err := s.checkMetadata(r); err != nil {
			return "", err
		}
	}
	table, err := s.table(r, size-s.reserved)
	if err != nil {
		return "", err
	}
	target := table.target()
	if _, err := s.ensure("pool.open.pool", tailPool, target); err != nil {
		return "", err
	}
	return s.names.name(tailPool), s.p.retable(s.names.name(tailPool), table.errorIfFull)
}

// active tells whether the pool has a table already.
func (s *bareSite) active() (bool, error) {
	info, err := s.p.ctl.Stat(s.names.name(tailPool))
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return info.Live, err
}

// checkMetadata looks at the metadata before the kernel does, which would
// format a blank device, and grow a smaller pool to this data device.
func (s *bareSite) checkMetadata(r record) error {
	state, err := readMetadataState(s.metadata)
	if err != nil {
		return err
	}
	switch {
	case state == metadataForeign:
		return fmt.Errorf("metadata device %s does not hold the metadata of a thin pool: is it the right device? %w", s.metadata, errdefs.ErrFailedPrecondition)
	case state == metadataBlank && r.DataBytes != 0:
		return fmt.Errorf("metadata device %s is blank, but the pool was in use: is it the right device? Restore the metadata, or make a new pool: %w", s.metadata, errdefs.ErrUnavailable)
	case state == metadataBlank:
		return nil
	}
	is, err := momentOf(s.metadata)
	if err != nil {
		return err
	}
	return r.compare(is)
}

// table makes the pool's table, and the linear device below it.
func (s *bareSite) table(r record, bytes uint64) (poolTable, error) {
	bytes = bytes / r.BlockBytes * r.BlockBytes
	number, err := numberOf(s.data)
	if err != nil {
		return poolTable{}, err
	}
	path, err := s.ensure("pool.open.data", tailData, dm.Target{
		Length: bytes / sector, Type: targetLinear, Params: fmt.Sprintf("%s %d", number, s.reserved/sector),
	})
	if err != nil {
		return poolTable{}, err
	}
	t := poolTable{blockBytes: r.BlockBytes, zero: r.Zero, errorIfFull: s.p.config.OutOfSpace == outOfSpaceError}
	if t.data, err = numberOf(path); err != nil {
		return t, err
	}
	if t.metadata, err = numberOf(s.metadata); err != nil {
		return t, err
	}
	// The linear device may be one from before, smaller than the disk is now.
	if t.bytes, err = sizeOf(path); err != nil {
		return t, err
	}
	t.lowWater = t.bytes / t.blockBytes * s.p.config.lowWater() / 100
	return t, nil
}

// lowWater is the free space, in percent, at which the kernel sends an event.
func (c Config) lowWater() uint64 {
	if c.ExtendAt > 0 {
		return uint64(max(c.MinFreeData, 100-c.ExtendAt))
	}
	return uint64(max(c.MinFreeData, 10))
}

// ensure makes a device live, or checks that the live one is the same: as to
// what it lies on; it may be smaller than the device below has become.
func (s *bareSite) ensure(point, tail string, want dm.Target) (string, error) {
	ctl, name := s.p.ctl, s.names.name(tail)
	failpoint.Hit(point + ".before")
	path, err := ctl.Activate(name, s.names.uuid(tail), false, want)
	failpoint.Hit(point + ".after")
	if err == nil {
		return path, nil
	}
	if !errdefs.IsAlreadyExists(err) {
		return "", fmt.Errorf("%w; is one of the pool's devices in use by something else?", err)
	}
	info, err := ctl.Stat(name)
	if err != nil {
		return "", err
	}
	if info.UUID != s.names.uuid(tail) {
		return "", fmt.Errorf("a device %s exists that is not ours (its uuid is %q); rename or remove it: %w", name, info.UUID, errdefs.ErrFailedPrecondition)
	}
	if !info.Live || info.Suspended { // left by a start that was cut off
		if err := s.finish(name, info, want); err != nil {
			return "", err
		}
	}
	targets, err := ctl.Table(name)
	if err != nil {
		return "", err
	}
	if len(targets) == 0 || targets[0].Type != want.Type || !sameDevices(targets[0].Params, want) {
		return "", fmt.Errorf("device %s lies on something else (%v) than the configuration says (%v): are these the devices of the pool that is active? %w", name, targets, want, errdefs.ErrFailedPrecondition)
	}
	return ctl.Path(name), nil
}

func (s *bareSite) finish(name string, info dm.Info, want dm.Target) error {
	if !info.Live {
		if err := s.p.ctl.Load(name, false, want); err != nil {
			return err
		}
	}
	return s.p.ctl.Resume(name)
}

// sameDevices compares what decides where data goes: of a linear target all,
// of a pool the two devices and the block size.
func sameDevices(params string, want dm.Target) bool {
	if want.Type != targetPool {
		return params == want.Params
	}
	is, err := parsePoolTable([]dm.Target{{Length: want.Length, Type: targetPool, Params: params}})
	should, wantErr := parsePoolTable([]dm.Target{want})
	return err == nil && wantErr == nil &&
		is.metadata == should.metadata && is.data == should.data && is.blockBytes == should.blockBytes
}
