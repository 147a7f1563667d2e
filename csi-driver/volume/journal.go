package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/varve-project/varve/internal/atomicfile"
)

// Op names a journalled operation.
type Op string

// The operations of a backend that have more than one effect.
const (
	OpCreate         Op = "create"
	OpDelete         Op = "delete"
	OpExpand         Op = "expand"
	OpSnapshot       Op = "snapshot"
	OpDeleteSnapshot Op = "delete-snapshot"
)

// Entry is an intent: what is about to be done to one object. It is on disk
// before the first effect and goes after the last, so an entry found at start
// is an operation that a crash cut short.
type Entry struct {
	// Op says how to repair.
	Op Op `json:"op"`
	// ID is the object's; one object has at most one entry.
	ID string `json:"id"`
	// Size is the target of an expansion, in bytes.
	Size int64 `json:"size,omitempty"`
	// VolumeID is the volume whose file system a snapshot or clone freezes.
	VolumeID string `json:"volumeID,omitempty"`
	// Started is for the reader of `doctor`.
	Started time.Time `json:"started"`
}

// Journal is a folder with one file per operation under way. Its methods are
// safe for use by several goroutines on different objects.
type Journal struct{ dir string }

// OpenJournal uses dir, making it when absent, and removes half-written
// entries: an intent that never became durable had no effect yet.
func OpenJournal(dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if err := atomicfile.Clean(dir); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	return &Journal{dir}, nil
}

// Begin makes the intent durable. It replaces an older entry of the same
// object, which the caller has repaired or is about to repeat.
func (j *Journal) Begin(e Entry) error {
	if err := ValidID(e.ID); err != nil {
		return fmt.Errorf("journal %s: %w", e.Op, err)
	}
	if e.Started.IsZero() {
		e.Started = time.Now().UTC()
	}
	if err := atomicfile.WriteJSON(j.path(e.ID), e); err != nil {
		return fmt.Errorf("journal %s of %s: %w", e.Op, e.ID, err)
	}
	return nil
}

// Done removes the intent. Call it only when every effect is durable, or
// undone.
func (j *Journal) Done(id string) error {
	if err := atomicfile.Remove(j.path(id)); err != nil {
		return fmt.Errorf("journal: close entry of %s: %w", id, err)
	}
	return nil
}

// Open returns the entries that are there, ordered by id. A file that cannot
// be understood is an error that names it: a repair that guesses is worse than
// none.
func (j *Journal) Open() ([]Entry, error) { return ReadJournal(j.dir) }

// ReadJournal is Journal.Open for a reader that must not change anything. A
// folder that is absent holds nothing.
func ReadJournal(dir string) ([]Entry, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var entries []Entry
	for _, f := range files {
		id, ok := strings.CutSuffix(f.Name(), ".json")
		if !ok {
			continue
		}
		var e Entry
		if err := atomicfile.ReadJSON(filepath.Join(dir, f.Name()), &e); err != nil {
			return nil, fmt.Errorf("journal: %w", err)
		}
		if err := e.check(id); err != nil {
			return nil, fmt.Errorf("journal: %s: %w", filepath.Join(dir, f.Name()), err)
		}
		entries = append(entries, e)
	}
	sort.Slice(entries, func(a, b int) bool { return entries[a].ID < entries[b].ID })
	return entries, nil
}

func (e Entry) check(id string) error {
	if e.ID != id {
		return fmt.Errorf("names %q", e.ID)
	}
	if err := ValidID(e.ID); err != nil {
		return err
	}
	switch e.Op {
	case OpCreate, OpDelete, OpSnapshot, OpDeleteSnapshot:
		return nil
	case OpExpand:
		if e.Size <= 0 {
			return fmt.Errorf("expand to %d bytes", e.Size)
		}
		return nil
	}
	return fmt.Errorf("unknown operation %q; it was written by another version of varve-csi: start that one once", e.Op)
}

func (j *Journal) path(id string) string { return filepath.Join(j.dir, id+".json") }
