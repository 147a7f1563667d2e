package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/varve-project/varve/csi-driver/volume"
	"github.com/varve-project/varve/internal/atomicfile"
)

// phase says how far an operation has come. A phase that is no state to stay
// in is an intent, and what a crash leaves of it is repaired at start.
type phase string

const (
	beginning phase = "beginning" // to be undone
	ready     phase = "ready"
	ending    phase = "ending" // to be finished
)

// record is one staged volume.
type record struct {
	VolumeID   string            `json:"volumeID"`
	Phase      phase             `json:"phase"`
	Staging    string            `json:"staging"`
	Capability volume.Capability `json:"capability"`
	BootID     string            `json:"bootID"`
	// Targets are where it is published, by path.
	Targets map[string]target `json:"targets,omitempty"`
}

// target is one publication.
type target struct {
	Phase    phase `json:"phase"`
	ReadOnly bool  `json:"readOnly,omitempty"`
}

// device tells which of a volume's two devices serves it. Only raw ones need
// the read-only device: a mount is made read-only by the mount.
func (r record) readOnlyDevice(t target) bool { return r.Capability.Block && t.ReadOnly }

// paths are the targets in order.
func (r record) paths() []string {
	list := make([]string, 0, len(r.Targets))
	for path := range r.Targets {
		list = append(list, path)
	}
	slices.Sort(list)
	return list
}

// records is the folder of them. The volume's lock guards each file.
type records struct{ dir, bootID string }

func openRecords(dir, bootID string) (records, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return records{}, err
	}
	return records{dir, bootID}, atomicfile.Clean(dir)
}

// load returns the record of a volume, or false. One of another boot counts as
// none: its mounts and devices are gone.
func (s records) load(id string) (record, bool, error) {
	if volume.ValidID(id) != nil {
		return record{}, false, nil
	}
	var r record
	err := atomicfile.ReadJSON(s.path(id), &r)
	if errors.Is(err, os.ErrNotExist) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, fmt.Errorf("record of volume %s: %w", id, err)
	}
	return r, r.BootID == s.bootID, nil
}

func (s records) save(r record) error {
	r.BootID = s.bootID
	if err := atomicfile.WriteJSON(s.path(r.VolumeID), r); err != nil {
		return fmt.Errorf("record of volume %s: %w", r.VolumeID, err)
	}
	return nil
}

func (s records) remove(id string) error {
	if err := atomicfile.Remove(s.path(id)); err != nil {
		return fmt.Errorf("record of volume %s: %w", id, err)
	}
	return nil
}

// ids returns the volumes that have a record, of whichever boot.
func (s records) ids() ([]string, error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, f := range files {
		if id, ok := strings.CutSuffix(f.Name(), ".json"); ok && volume.ValidID(id) == nil {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (s records) path(id string) string { return filepath.Join(s.dir, id+".json") }
