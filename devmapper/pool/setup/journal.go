package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/varve-project/varve/devmapper/pool"
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
	Target  string   `json:"target"`
	Devices []string `json:"devices,omitempty"`
	// Data and Metadata are the sizes in bytes that an extension aims at, so
	// that one that is taken up does not add its "+10G" again.
	Data     uint64 `json:"data,omitempty"`
	Metadata uint64 `json:"metadata,omitempty"`
	// Location says where the pool lies; its other keys are not set.
	Location Location  `json:"location"`
	Started  time.Time `json:"started"`
}

// Location is the part of the [pool] table that says where the pool lies.
type Location struct {
	VolumeGroup    string `json:"volumeGroup,omitempty"`
	ThinPool       string `json:"thinPool,omitempty"`
	DataDevice     string `json:"dataDevice,omitempty"`
	MetadataDevice string `json:"metadataDevice,omitempty"`
	LoopDirectory  string `json:"loopDirectory,omitempty"`
}

// LocationOf takes the location out of a configuration.
func LocationOf(c pool.Config) Location {
	return Location{c.VolumeGroup, c.ThinPool, c.DataDevice, c.MetadataDevice, c.LoopDirectory}
}

// In is c with l as its location.
func (l Location) In(c pool.Config) pool.Config {
	c.VolumeGroup, c.ThinPool, c.DataDevice, c.MetadataDevice, c.LoopDirectory = l.VolumeGroup, l.ThinPool, l.DataDevice, l.MetadataDevice, l.LoopDirectory
	return c
}

// Flags are l as they stand on a command line.
func (l Location) Flags() string {
	var words []string
	for _, f := range []struct{ flag, value string }{
		{"--volume-group", l.VolumeGroup}, {"--thin-pool", l.ThinPool},
		{"--data-device", l.DataDevice}, {"--metadata-device", l.MetadataDevice}, {"--loop-directory", l.LoopDirectory},
	} {
		if f.value != "" {
			words = append(words, f.flag, f.value)
		}
	}
	return quote(words)
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

// Lock keeps other `pool` commands of this root away, and with daemon, the
// daemon too, whose own lock it takes. Call release when the command ends.
func (h *Host) Lock(daemon bool) (release func(), err error) {
	if err := os.MkdirAll(h.Root, 0o700); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	lock, err := flock.Try(filepath.Join(h.Root, "pool-setup.lock"))
	if errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("another `pool` command is at work on %s: %w; wait for it", h.Root, err)
	}
	if err != nil || !daemon {
		return func() { _ = lock.Release() }, err
	}
	other, err := flock.Try(filepath.Join(h.Root, "lock"))
	if errors.Is(err, flock.ErrHeld) {
		err = fmt.Errorf("the daemon runs on %s: %w; stop it first (systemctl stop varve-devmapper.socket varve-devmapper.service)", h.Root, err)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	return func() { _, _ = other.Release(), lock.Release() }, nil
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
