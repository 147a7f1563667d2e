// Package volume is the contract between the CSI services (identity,
// controller, node) and what stores the bytes: a Backend. It holds the values
// they share (volumes, snapshots, sizes, errors), the locks that keep two
// calls off one object, and the journal by which a backend survives a crash.
//
// It touches no disk of its own but the journal's folder, and knows nothing of
// gRPC but the code of each of its errors (see Status). Below it are the
// back ends: file (reflink files over loop devices); thin pools come beside it.
package volume

import (
	"context"
	"time"
)

// Backend stores volumes and snapshots on this node.
//
// Promises of every implementation:
//
//   - A call that has returned without error survives kill -9 and a power cut.
//     One that was cut short is undone or finished by the next open, whichever
//     leaves no trace that its caller does not know of.
//   - Every call is idempotent: asking for what is already so succeeds, with
//     the same answer.
//   - Volumes and snapshots are independent of each other: a source may be
//     deleted before what was made from it.
//   - Nothing is ever formatted that was handed out before: a file system is
//     made while a volume is created, before anybody can know its id.
//
// The caller holds the object's lock (Locks) around every mutating call, so an
// implementation never sees two of them on one object at once; calls on
// different objects run side by side. Errors wrap one of the sentinels of this
// package wherever one fits.
type Backend interface {
	// Volume returns the record of id, or ErrNotFound.
	Volume(id string) (Volume, error)
	// VolumeByName returns the volume created under name, or ErrNotFound.
	VolumeByName(name string) (Volume, error)
	// Volumes returns all volumes, ordered by id.
	Volumes() []Volume

	// Snapshot returns the record of id, or ErrNotFound.
	Snapshot(id string) (Snapshot, error)
	// SnapshotByName returns the snapshot taken under name, or ErrNotFound.
	SnapshotByName(name string) (Snapshot, error)
	// Snapshots returns all snapshots, ordered by id.
	Snapshots() []Snapshot

	// Create makes a volume: empty and formatted (FSType set), empty and raw
	// (FSType ""), or with the content of a source. Errors: ErrNotFound (the
	// source), ErrRange (smaller than the source), ErrNoRoom, ErrInvalid (the
	// source does not hold FSType).
	Create(ctx context.Context, want CreateVolume) (Volume, error)
	// Delete removes a volume with its data. An absent one is no error. One
	// that is attached answers ErrInUse.
	Delete(ctx context.Context, id string) error
	// Expand makes a volume at least size bytes long, also while it is
	// attached: its devices have the new size when the call returns. The file
	// system on it is not touched. It never shrinks. Errors: ErrNotFound,
	// ErrNoRoom.
	Expand(ctx context.Context, id string, size int64) (Volume, error)

	// TakeSnapshot keeps the content that a volume has now. A file system that
	// is mounted is frozen for the moment it takes; a raw device in use is
	// flushed. Errors: ErrNotFound (the volume), ErrNoRoom, ErrInUse (mounted
	// where it cannot be frozen).
	TakeSnapshot(ctx context.Context, want TakeSnapshot) (Snapshot, error)
	// DeleteSnapshot removes a snapshot. An absent one is no error.
	DeleteSnapshot(ctx context.Context, id string) error

	// Attach makes the volume's content a block device of this node and
	// returns it; a device that is already there is returned again. A volume
	// has at most one writable and one read-only device. ErrNotFound.
	Attach(ctx context.Context, id string, readOnly bool) (Device, error)
	// Attached returns the device that Attach would find, and whether there
	// is one.
	Attached(id string, readOnly bool) (Device, bool, error)
	// Detach takes the device away and returns when it is gone. No device, or
	// no volume, is no error; one that something still holds open stays as it
	// is and answers ErrInUse.
	Detach(ctx context.Context, id string, readOnly bool) error

	// Limits says what sizes a volume with this file system ("" is raw) may
	// have.
	Limits(fsType string) Limits
	// Capacity says how much there is and how much of it may still be
	// promised.
	Capacity() (Capacity, error)
	// Close ends the backend. Attached devices, and what they need, stay: pods
	// go on using them.
	Close() error
}

// Volume is one volume's record.
type Volume struct {
	// ID is chosen at random ("vol-" and 32 hex digits) and never used again.
	ID string `json:"id"`
	// Name is the caller's, unique among volumes.
	Name string `json:"name"`
	// Size is in bytes. It is what was promised; the bytes on disk are fewer
	// until they are written.
	Size int64 `json:"size"`
	// FSType is ext4 or xfs, "" when the volume was made as a raw device.
	FSType string `json:"fsType,omitempty"`
	// Parameters are the caller's, as given, and part of what a second Create
	// under the same name is compared with.
	Parameters map[string]string `json:"parameters,omitempty"`
	// Source is what the content was copied from; its zero value is nothing.
	Source Source `json:"source,omitzero"`
	// Created is when Create was called.
	Created time.Time `json:"created"`
}

// Snapshot is one snapshot's record.
type Snapshot struct {
	// ID is chosen at random ("snap-" and 32 hex digits) and never used again.
	ID string `json:"id"`
	// Name is the caller's, unique among snapshots.
	Name string `json:"name"`
	// VolumeID is the volume it was taken of, which may be gone by now.
	VolumeID string `json:"volumeID"`
	// Size is the volume's size in bytes at that moment, hence the smallest
	// size of a volume restored from it.
	Size int64 `json:"size"`
	// Allocated is how many bytes of the store the snapshot may come to hold
	// for itself alone, once the volume is rewritten.
	Allocated int64 `json:"allocated"`
	// FSType is the volume's.
	FSType string `json:"fsType,omitempty"`
	// Created is the moment whose content it holds.
	Created time.Time `json:"created"`
}

// Source names what a new volume's content is copied from. At most one field
// is set.
type Source struct {
	SnapshotID string `json:"snapshotID,omitempty"`
	VolumeID   string `json:"volumeID,omitempty"`
}

// CreateVolume is what Create is asked for. Size is exact, a multiple of the
// backend's Limits.Step; the other fields are those of Volume.
type CreateVolume struct {
	Name       string
	Size       int64
	FSType     string
	Parameters map[string]string
	Source     Source
}

// TakeSnapshot is what Backend.TakeSnapshot is asked for.
type TakeSnapshot struct {
	Name     string
	VolumeID string
}

// Device is a block device that carries a volume.
type Device struct {
	// Path is the device node, "/dev/loop3".
	Path string
	// Number is its dev_t as stat(2) gives it in st_rdev.
	Number uint64
	// Size is in bytes.
	Size int64
	// Source is where a person finds the content while the volume is not
	// attached, for instance to check its file system: an image or a node.
	Source string
}

// Limits are sizes in bytes.
type Limits struct {
	// Min is the smallest volume.
	Min int64
	// Max is the largest volume, whatever room there is.
	Max int64
	// Step: every size is a multiple of it.
	Step int64
	// Default is the size of a volume whose creator names none.
	Default int64
}

// Capacity is a store's room in bytes.
type Capacity struct {
	// Total is what may be promised in all: the store's size less what its own
	// structures need, times the configured over-commitment.
	Total int64
	// Promised is the sum of what volumes and snapshots may come to hold.
	Promised int64
	// Available is what a new volume may ask for. It is less than
	// Total-Promised where the disk below has been filled by others.
	Available int64
}
