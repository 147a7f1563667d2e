package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/flock"
)

// Journal is the note that a command leaves in the daemon's root before its
// first effect and takes away after its last.
type Journal struct {
	// Call is create, extend, repair or destroy.
	Call string `json:"call"`
	UUID string `json:"uuid"`
	// Target is what the command was asked to work on, as it would be
	// repeated.
	Target  string    `json:"target"`
	Devices []string  `json:"devices,omitempty"`
	Started time.Time `json:"started"`
}

func journalPath(root string) string { return filepath.Join(root, "pool-setup.json") }

// ReadJournal returns the note of a command that was cut off, nil without.
func (h *Host) ReadJournal() (*Journal, error) {
	var j Journal
	err := atomicfile.ReadJSON(journalPath(h.Root), &j)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the note of a command that was cut off: %w; if no `pool` command is under way, remove it", err)
	}
	return &j, nil
}

// Lock keeps daemons and other `pool` commands of this root away; it is the
// daemon's own lock. Release it when the command ends.
func (h *Host) Lock() (*flock.Lock, error) {
	if err := os.MkdirAll(h.Root, 0o700); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	lock, err := flock.Try(filepath.Join(h.Root, "lock"))
	if errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("the root %s is in use, by the daemon or another `pool` command: %w; stop the daemon (systemctl stop varve-devmapper) or wait", h.Root, err)
	}
	return lock, err
}

// Begin notes a command before its first effect.
type Begin struct{ Journal Journal }

// Shell says what is done.
func (b Begin) Shell() string {
	return fmt.Sprintf("note in the daemon's root: %s of pool %s on %s begins", b.Journal.Call, b.Journal.UUID, b.Journal.Target)
}

func (b Begin) do(_ context.Context, h *Host) error {
	b.Journal.Started = time.Now().UTC()
	return atomicfile.WriteJSON(journalPath(h.Root), b.Journal)
}

// End takes the note away.
type End struct{}

// Shell says what is done.
func (End) Shell() string { return "remove the note from the daemon's root" }

func (End) do(_ context.Context, h *Host) error { return atomicfile.Remove(journalPath(h.Root)) }
