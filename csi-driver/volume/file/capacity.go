package file

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/mount"
)

const (
	step = 4096
	// What a file system keeps for itself. An empty XFS with reflinks holds
	// back 0.7 % for reference counts and 32 MiB for what must not fail; maps
	// of extents and records come on top.
	overheadShare = 50 // one fiftieth
	overheadFixed = 64 << 20
	// perObject is what an image may hold beyond its bytes, since it grows in
	// whole extents.
	perObject = extent
)

// Limits implements volume.Backend. The smallest sizes are those that mkfs
// accepts.
func (b *Backend) Limits(fsType string) volume.Limits {
	l := volume.Limits{Min: 1 << 20, Max: 1 << 50, Step: step, Default: 1 << 30}
	switch fsType {
	case mount.Ext4:
		l.Min = 16 << 20
	case mount.XFS:
		l.Min = 304 << 20
	}
	return l
}

// Capacity implements volume.Backend.
//
// The promise is exact: a volume may come to hold its size; a snapshot what it
// held when it was taken, since it never changes. So without over-commitment
// the sum of these is the most that the store can ever be asked for.
func (b *Backend) Capacity() (volume.Capacity, error) {
	if err := b.pool.present(); err != nil {
		return volume.Capacity{}, fmt.Errorf("capacity: %w", err)
	}
	used, writable, err := b.room()
	if err != nil {
		return volume.Capacity{}, err
	}
	usable := used + writable
	usable -= usable/overheadShare + overheadFixed
	total := scale(max(usable, 0), b.config.Overcommit)
	promised := b.promised()
	available := min(total-promised, scale(writable, b.config.Overcommit)) - perObject
	return volume.Capacity{
		Total:     total,
		Promised:  promised,
		Available: max(available, 0) / step * step,
	}, nil
}

// room says what the pool holds and what can still be written to it. Inside a
// store that is no more than the disk below can take.
func (b *Backend) room() (used, writable int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(b.pool.base, &st); err != nil {
		return 0, 0, fmt.Errorf("capacity of %s: %w", b.pool.base, err)
	}
	free := int64(st.Bavail) * st.Bsize
	if b.pool.store == "" {
		used, err = b.held()
		return used, free, err
	}
	used = (int64(st.Blocks) - int64(st.Bfree)) * st.Bsize
	below, err := freeBytes(b.pool.dir)
	if err != nil {
		return 0, 0, err
	}
	backed, err := allocated(b.pool.store)
	if err != nil {
		return 0, 0, err
	}
	return used, min(free, below+max(backed-used, 0)), nil
}

// held is what images occupy in a folder that others use as well. Blocks that
// images share count more than once, which errs towards a larger total; what
// is writable bounds it.
func (b *Backend) held() (int64, error) {
	var sum int64
	for _, v := range b.Volumes() {
		n, err := allocated(b.pool.image("volumes", v.ID))
		if err != nil {
			return 0, err
		}
		sum += n
	}
	for _, s := range b.Snapshots() {
		sum += s.Allocated
	}
	return sum, nil
}

func (b *Backend) promised() int64 {
	b.catalog.mu.RLock()
	defer b.catalog.mu.RUnlock()
	sum := b.catalog.reserved
	for _, v := range b.catalog.volumes {
		sum += v.Size + perObject
	}
	for _, s := range b.catalog.snapshots {
		sum += s.Allocated + perObject
	}
	return sum
}

// reserve sets n bytes aside for an operation under way, so that two of them
// cannot be promised the same room. Release is called when the operation has
// ended, after its record is in the catalog.
func (b *Backend) reserve(what string, n int64) (release func(), err error) {
	b.reserving.Lock()
	defer b.reserving.Unlock()
	c, err := b.Capacity()
	if err != nil {
		return nil, err
	}
	if n > c.Available {
		return nil, fmt.Errorf("%s needs %d bytes, %d are available (%d of %d promised): %w; remove volumes or snapshots, enlarge the store, or raise overcommit",
			what, n, c.Available, c.Promised, c.Total, volume.ErrNoRoom)
	}
	n += perObject
	b.catalog.change(func() { b.catalog.reserved += n })
	return func() { b.catalog.change(func() { b.catalog.reserved -= n }) }, nil
}

func scale(n int64, by float64) int64 {
	f := float64(n) * by
	if f >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(f)
}
