package ipam

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/varve-project/varve/internal/flock"
)

// ErrInUse means that the network has leases.
var ErrInUse = errors.New("the network has attachments")

// WhileIdle runs do while the network has no lease and none can be made: an
// ADD waits at its allocation, so do must be quick. The error wraps ErrInUse
// when there is a lease, readable or not.
func (s *Store) WhileIdle(do func() error) error {
	lock, err := flock.Acquire(s.path("index.lock"))
	if err != nil {
		return err
	}
	defer lock.Release() //nolint:errcheck // closing drops the lock whatever it says
	entries, err := os.ReadDir(s.path("leases"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list the leases: %w", err)
	}
	n := 0
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".tmp-") {
			n++
		}
	}
	if n > 0 {
		return fmt.Errorf("network %s: %w: %d in %s", s.network, ErrInUse, n, s.path("leases"))
	}
	return do()
}
