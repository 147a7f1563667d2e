package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/atomicfile"
)

// catalog is the memory of what the folders volumes and snapshots hold. It
// changes right after them, and is read from them at start.
type catalog struct {
	mu        sync.RWMutex
	volumes   map[string]volume.Volume
	snapshots map[string]volume.Snapshot
	// reserved are bytes that operations under way are going to promise.
	reserved int64
}

func (c *catalog) load(p pool) error {
	var err error
	if c.volumes, err = readRecords[volume.Volume](p.path("volumes"), volumeName); err != nil {
		return err
	}
	if c.snapshots, err = readRecords[volume.Snapshot](p.path("snapshots"), snapshotName); err != nil {
		return err
	}
	for id := range c.volumes { // half-written records, of an expansion
		if err := atomicfile.Clean(p.path("volumes", id)); err != nil {
			return err
		}
	}
	return nil
}

// readRecords reads DIR/ID/NAME for each ID.
func readRecords[T any](dir, name string) (map[string]T, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	records := make(map[string]T, len(entries))
	for _, e := range entries {
		if volume.ValidID(e.Name()) != nil {
			continue // not ours; doctor names it
		}
		var record T
		at := filepath.Join(dir, e.Name())
		if err := atomicfile.ReadJSON(filepath.Join(at, name), &record); err != nil {
			return nil, fmt.Errorf("record of %s: %w; move %s away to start without it", e.Name(), err, at)
		}
		records[e.Name()] = record
	}
	return records, nil
}

// Volume implements volume.Backend.
func (b *Backend) Volume(id string) (volume.Volume, error) {
	b.catalog.mu.RLock()
	defer b.catalog.mu.RUnlock()
	if v, ok := b.catalog.volumes[id]; ok {
		return v, nil
	}
	return volume.Volume{}, fmt.Errorf("volume %q: %w", id, volume.ErrNotFound)
}

// VolumeByName implements volume.Backend.
func (b *Backend) VolumeByName(name string) (volume.Volume, error) {
	for _, v := range b.Volumes() {
		if v.Name == name {
			return v, nil
		}
	}
	return volume.Volume{}, fmt.Errorf("volume named %q: %w", name, volume.ErrNotFound)
}

// Volumes implements volume.Backend.
func (b *Backend) Volumes() []volume.Volume {
	b.catalog.mu.RLock()
	defer b.catalog.mu.RUnlock()
	return sorted(b.catalog.volumes, func(v volume.Volume) string { return v.ID })
}

// Snapshot implements volume.Backend.
func (b *Backend) Snapshot(id string) (volume.Snapshot, error) {
	b.catalog.mu.RLock()
	defer b.catalog.mu.RUnlock()
	if s, ok := b.catalog.snapshots[id]; ok {
		return s, nil
	}
	return volume.Snapshot{}, fmt.Errorf("snapshot %q: %w", id, volume.ErrNotFound)
}

// SnapshotByName implements volume.Backend.
func (b *Backend) SnapshotByName(name string) (volume.Snapshot, error) {
	for _, s := range b.Snapshots() {
		if s.Name == name {
			return s, nil
		}
	}
	return volume.Snapshot{}, fmt.Errorf("snapshot named %q: %w", name, volume.ErrNotFound)
}

// Snapshots implements volume.Backend.
func (b *Backend) Snapshots() []volume.Snapshot {
	b.catalog.mu.RLock()
	defer b.catalog.mu.RUnlock()
	return sorted(b.catalog.snapshots, func(s volume.Snapshot) string { return s.ID })
}

func sorted[T any](records map[string]T, id func(T) string) []T {
	list := make([]T, 0, len(records))
	for _, r := range records {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b T) int { return strings.Compare(id(a), id(b)) })
	return list
}

// change runs f on the catalog.
func (c *catalog) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// absent tells whether err says that something is not there.
func absent(err error) bool {
	return errors.Is(err, volume.ErrNotFound) || errors.Is(err, os.ErrNotExist)
}
