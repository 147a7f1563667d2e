package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/runtime/pod"
)

var (
	// ErrNotFound means that there is no such volume or snapshot.
	ErrNotFound = errors.New("not found")
	// ErrExists means that one of that name is there, made otherwise.
	ErrExists = errors.New("exists already")
	// ErrInUse means that a pod uses the volume.
	ErrInUse = errors.New("in use")
)

// State is how far a volume or snapshot has come.
type State string

const (
	// Creating: the driver was asked or is about to be; the next call with
	// the same name goes on.
	Creating State = "creating"
	// Ready: it can be used.
	Ready State = "ready"
	// Deleting: the driver was asked to delete it; rm goes on.
	Deleting State = "deleting"
)

// Volume is the record of a claim and the volume made for it.
type Volume struct {
	pod.Key
	// Handle is the name given to CreateVolume, unique for all time.
	Handle  string    `json:"handle"`
	State   State     `json:"state"`
	Created time.Time `json:"created"`
	Request Request   `json:"request"`
	// ID and the rest are the driver's answer.
	ID       string            `json:"id,omitempty"`
	Capacity int64             `json:"capacity,omitempty"`
	Context  map[string]string `json:"context,omitempty"`
}

// Request is what was asked for. The same claim asked for twice with another
// Request is refused.
type Request struct {
	// Bytes is the least size, Limit the greatest; 0 is no limit.
	Bytes int64 `json:"bytes"`
	Limit int64 `json:"limit,omitempty"`
	// Block is true for a raw block device.
	Block bool `json:"block,omitempty"`
	// FSType is the file system; empty leaves it to the driver.
	FSType string `json:"fsType,omitempty"`
	// MountFlags are given to the driver with each mount.
	MountFlags []string `json:"mountFlags,omitempty"`
	// AccessModes are Kubernetes' names.
	AccessModes []string `json:"accessModes"`
	// Parameters are the driver's own.
	Parameters map[string]string `json:"parameters,omitempty"`
	// Snapshot or Volume names what the new volume is filled from.
	Snapshot string `json:"snapshot,omitempty"`
	Volume   string `json:"volume,omitempty"`
}

// Snapshot is the record of a snapshot.
type Snapshot struct {
	pod.Key
	Handle  string    `json:"handle"`
	State   State     `json:"state"`
	Created time.Time `json:"created"`
	// Volume is the claim it was taken of.
	Volume   string `json:"volume"`
	VolumeID string `json:"volumeID"`
	// ID, Size and Ready are the driver's answer.
	ID   string `json:"id,omitempty"`
	Size int64  `json:"size,omitempty"`
	// Taken is the moment the snapshot shows.
	Taken time.Time `json:"taken,omitzero"`
}

func (s *Store) volumesDir() string   { return filepath.Join(s.cfg.RuntimeRoot(), "volumes") }
func (s *Store) snapshotsDir() string { return filepath.Join(s.cfg.RuntimeRoot(), "snapshots") }

// stateDir holds what this boot staged of a volume.
func (s *Store) stateDir(k pod.Key) string {
	return filepath.Join(s.cfg.RuntimeState(), "volumes", k.FileName())
}

// Get reads the record of a claim; the error wraps ErrNotFound.
func (s *Store) Get(k pod.Key) (*Volume, error) {
	return get[Volume](s.volumesDir(), "volume", k)
}

// GetSnapshot reads the record of a snapshot; the error wraps ErrNotFound.
func (s *Store) GetSnapshot(k pod.Key) (*Snapshot, error) {
	return get[Snapshot](s.snapshotsDir(), "snapshot", k)
}

// List reads all volumes by name, and ListSnapshots all snapshots.
func (s *Store) List() ([]*Volume, error) { return list[Volume](s.volumesDir(), "volume") }

// ListSnapshots reads all snapshots by name.
func (s *Store) ListSnapshots() ([]*Snapshot, error) {
	return list[Snapshot](s.snapshotsDir(), "snapshot")
}

func recordPath(dir string, k pod.Key) string { return filepath.Join(dir, k.FileName()+".json") }

func get[T any](dir, kind string, k pod.Key) (*T, error) {
	v := new(T)
	err := atomicfile.ReadJSON(recordPath(dir, k), v)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s %s: %w", kind, k, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, k, err)
	}
	return v, nil
}

func list[T any](dir, kind string) ([]*T, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %ss: %w", kind, err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok && !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	var all []*T
	var errs []error
	for _, name := range names {
		v := new(T)
		err := atomicfile.ReadJSON(filepath.Join(dir, name+".json"), v)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed since ReadDir
		case err != nil:
			errs = append(errs, fmt.Errorf("%s %s: %w", kind, name, err))
		default:
			all = append(all, v)
		}
	}
	return all, errors.Join(errs...)
}

func put(dir string, k pod.Key, v any) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("volume %s: %w", k, err)
	}
	return atomicfile.WriteJSON(recordPath(dir, k), v)
}
