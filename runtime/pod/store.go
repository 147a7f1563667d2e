package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/runtime/config"
)

var (
	// ErrNotFound means that there is no pod of that name.
	ErrNotFound = errors.New("no such pod")
	// ErrExists means that a pod of that name is there already.
	ErrExists = errors.New("pod exists")
)

// DesiredFile is the name of the file in a pod's folder that SetDesired
// renames into place.
const DesiredFile = "desired.json"

const (
	recordFile  = "pod.json"
	desiredFile = DesiredFile
	statusFile  = "status.json"
	// newPrefix marks a folder that Create is making, goingPrefix one that
	// Delete is taking away. Neither is a pod, and whatever a crash left of
	// them is swept by Sweep.
	newPrefix   = ".new-"
	goingPrefix = ".gone-"
)

// Store reads and writes the files of all pods of one Root and State. It is
// a value without open files; any number of processes may have one.
type Store struct{ cfg config.Config }

// NewStore returns the store of a configuration. Folders are made when they
// are first needed.
func NewStore(c config.Config) *Store { return &Store{c} }

// Create writes the record and makes the pod exist, durably and in one step.
// The caller holds the key's lock. The error wraps ErrExists when there is a
// pod of that key.
func (s *Store) Create(r *Record) error {
	dir := filepath.Join(PodsDir(s.cfg), r.FileName())
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("pod %s: %w; `varve pod rm %s` removes it", r.Key, ErrExists, r.Key)
	}
	fresh := filepath.Join(PodsDir(s.cfg), newPrefix+r.UID)
	failpoint.Hit("runtime.run.record.before")
	if err := os.MkdirAll(fresh, 0o700); err != nil {
		return fmt.Errorf("pod %s: make its folder: %w", r.Key, err)
	}
	if err := atomicfile.WriteJSON(filepath.Join(fresh, recordFile), r); err != nil {
		return fmt.Errorf("pod %s: %w", r.Key, errors.Join(err, os.RemoveAll(fresh)))
	}
	if err := os.Rename(fresh, dir); err != nil {
		return fmt.Errorf("pod %s: %w", r.Key, errors.Join(err, os.RemoveAll(fresh)))
	}
	if err := atomicfile.SyncDir(PodsDir(s.cfg)); err != nil {
		return fmt.Errorf("pod %s: %w", r.Key, err)
	}
	failpoint.Hit("runtime.run.record.after")
	return nil
}

// Get reads the record of a key. The error wraps ErrNotFound.
func (s *Store) Get(k Key) (*Record, error) {
	var r Record
	err := atomicfile.ReadJSON(filepath.Join(PodsDir(s.cfg), k.FileName(), recordFile), &r)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("pod %s: %w; `varve pod ls` lists them", k, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", k, err)
	}
	// A record that was copied under another Root or State belongs to the
	// suite that reads it.
	r.Config.Root, r.Config.State = s.cfg.Root, s.cfg.State
	return &r, nil
}

// List reads all records, by namespace and name. A record that cannot be
// read is an error beside those that can.
func (s *Store) List() ([]*Record, error) {
	entries, err := os.ReadDir(PodsDir(s.cfg))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	var all []*Record
	var errs []error
	for _, e := range entries {
		k, ok := parseFileName(e.Name())
		if !ok {
			continue
		}
		r, err := s.Get(k)
		if errors.Is(err, ErrNotFound) {
			continue // removed since ReadDir
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, r)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].FileName() < all[j].FileName() })
	return all, errors.Join(errs...)
}

// Paths returns the paths of a pod.
func (s *Store) Paths(r *Record) Paths { return PathsOf(s.cfg, r.Key, r.UID) }

// Status reads how a pod is doing; a pod without a status yet is pending.
func (s *Store) Status(r *Record) (*Status, error) {
	var st Status
	err := atomicfile.ReadJSON(filepath.Join(s.Paths(r).Dir, statusFile), &st)
	if errors.Is(err, fs.ErrNotExist) {
		return NewStatus(r, ""), nil
	}
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", r.Key, err)
	}
	return &st, nil
}

// SetStatus replaces the status; the caller holds the pod's lock. With
// durable set it also waits for the disk.
func (s *Store) SetStatus(r *Record, st *Status, durable bool) error {
	path := filepath.Join(s.Paths(r).Dir, statusFile)
	var err error
	if durable {
		err = atomicfile.WriteJSON(path, st)
	} else {
		err = replaceJSON(path, st)
	}
	if err != nil {
		return fmt.Errorf("pod %s: %w", r.Key, err)
	}
	return nil
}

// replaceJSON is atomicfile.WriteJSON without its syncs.
func replaceJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return atomicfile.Replace(path, append(data, '\n'), 0o600)
}

// Desired reads what is wanted of a pod; without the file it is to run.
func (s *Store) Desired(r *Record) (Desired, error) {
	d := Desired{Goal: GoalRun}
	err := atomicfile.ReadJSON(filepath.Join(s.Paths(r).Dir, desiredFile), &d)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d, fmt.Errorf("pod %s: %w", r.Key, err)
	}
	return d, nil
}

// SetDesired says what is wanted of a pod, durably. A goal that is further on
// than d's stays; d's grace period then still counts.
func (s *Store) SetDesired(r *Record, d Desired) error {
	was, err := s.Desired(r)
	if err != nil {
		return err
	}
	if goalRank[was.Goal] > goalRank[d.Goal] {
		d.Goal = was.Goal
	}
	failpoint.Hit("runtime.stop.desired.before")
	err = atomicfile.WriteJSON(filepath.Join(s.Paths(r).Dir, desiredFile), d)
	failpoint.Hit("runtime.stop.desired.after")
	if err != nil {
		return fmt.Errorf("pod %s: %w", r.Key, err)
	}
	return nil
}

// Delete forgets a pod, in one step and durably, and then clears its folder.
// The caller holds the pod's lock and has taken its effects away. Deleting
// what is absent is no error.
func (s *Store) Delete(r *Record) error {
	dir := s.Paths(r).Dir
	gone := filepath.Join(PodsDir(s.cfg), goingPrefix+r.UID)
	failpoint.Hit("runtime.rm.record.before")
	err := os.Rename(dir, gone)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pod %s: remove its record: %w", r.Key, err)
	}
	if err == nil {
		if err := atomicfile.SyncDir(PodsDir(s.cfg)); err != nil {
			return fmt.Errorf("pod %s: remove its record: %w", r.Key, err)
		}
	}
	failpoint.Hit("runtime.rm.record.after")
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("pod %s: clear its folder: %w", r.Key, err)
	}
	return nil
}

// Sweep clears the folders that a crash left half made or half removed.
func (s *Store) Sweep() error {
	entries, err := os.ReadDir(PodsDir(s.cfg))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("sweep pods: %w", err)
	}
	var errs []error
	for _, e := range entries {
		name := e.Name()
		going := strings.HasPrefix(name, goingPrefix)
		if !going && !(strings.HasPrefix(name, newPrefix) && s.abandoned(e)) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(PodsDir(s.cfg), name)); err != nil {
			errs = append(errs, fmt.Errorf("sweep pods: %w", err))
		}
	}
	return errors.Join(errs...)
}

// abandoned tells whether a folder that Create began is older than any Create
// takes: between making the folder and renaming it, it writes one small file.
func (s *Store) abandoned(e fs.DirEntry) bool {
	info, err := e.Info()
	return err == nil && time.Since(info.ModTime()) > 10*time.Minute
}
