package ipam

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/failpoint"
)

// TombstoneAge is how long a DEL refuses ADDs that were stamped before it: as
// least this, at most twice this. Runtimes give up on a plug-in long before.
const TombstoneAge = 10 * time.Minute

// bucket names the folder of tombstones of a time, so that dropping old ones
// costs one removal of a folder, and no call walks them all.
func bucket(stamp int64) int64 { return stamp / int64(TombstoneAge) }

func (s *Store) bucketPath(n int64) string { return s.path("gone/" + strconv.FormatInt(n, 10)) }

// Bury leaves a tombstone for k, stamped with the entry of the DEL. The caller
// holds k's key lock.
func (s *Store) Bury(k Key, stamp int64) error {
	dir := s.bucketPath(bucket(s.Now()))
	if err := os.Mkdir(dir, 0o700); err == nil {
		s.dropOld()
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	data, err := json.Marshal(Tombstone{k, s.boot, stamp})
	if err != nil {
		return err
	}
	failpoint.Hit("cni.ipam.tombstone.before")
	defer failpoint.Hit("cni.ipam.tombstone.after")
	return atomicfile.Replace(filepath.Join(dir, fileName(k)), data, 0o600)
}

// Buried tells whether an ADD of k whose process entered at stamp has been
// overtaken by a DEL. The caller holds k's key lock.
func (s *Store) Buried(k Key, stamp int64) (bool, error) {
	now := bucket(s.Now())
	for _, n := range []int64{now, now - 1} {
		var t Tombstone
		err := atomicfile.ReadJSON(filepath.Join(s.bucketPath(n), fileName(k)), &t)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("tombstone of %s: %w", k, err)
		}
		if t.Boot == s.boot && t.Key == k && stamp < t.Stamp {
			return true, nil
		}
	}
	return false, nil
}

// dropOld removes the buckets that no ADD can meet any more, those of an
// earlier boot among them. What it cannot remove, a later call will.
func (s *Store) dropOld() {
	entries, err := os.ReadDir(s.path("gone"))
	if err != nil {
		return
	}
	now := bucket(s.Now())
	for _, e := range entries {
		n, err := strconv.ParseInt(e.Name(), 10, 64)
		if err != nil || n < now-1 || n > now {
			_ = os.RemoveAll(s.path("gone/" + e.Name()))
		}
	}
}
