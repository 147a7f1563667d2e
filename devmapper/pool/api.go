// Package pool owns a dm-thin pool on a disk: it finds and activates it,
// keeps the catalog that lies beside it, hands out thin ids, makes, activates
// and deletes thin devices, and watches its fill. A pool has one owner, the
// process that opened it; who that is (a snapshotter, a CSI driver) it does
// not know, and what the thin devices hold it never looks at.
//
// Below it is devmapper/dm, the ioctls. LVM is called for set-up, extension
// and activation only, never on the path of a thin device.
//
// # What lies on the disk
//
// Three volumes, which cannot part company: the pool's data, the pool's
// metadata, and the catalog, a small linear volume with an ext4 file system.
// With LVM they are logical volumes of one volume group; of a bare pool the
// catalog is a linear range at the start of the data device, where growth of
// the device leaves it and where blkid finds its label. Everything that must
// outlive the host's state directory is a file in the catalog:
//
//	pool.json   the pool's identity, the thin ids that are given out, the
//	            transaction id of the last start (this package's)
//	pool.lock   locked by the owner; being on the disk itself it holds against
//	            any process of the host, whatever its mount namespace
//	*           the owner's records (a snapshotter: snapshots.db)
//
// The UUID of the catalog's file system is the pool's identity.
//
// # Thin ids
//
// A thin id is 24 bits wide and used once. Ids come from a window that
// pool.json has reserved durably, so handing one out costs no write. The
// kernel makes a create or delete message durable before it answers (one pool
// commit). An owner creates the device first and records it second, with one
// write of its own; a crash in between leaves an id without a record, which
// the next start finds in the pool's own B-tree and deletes (Reclaim).
package pool

import (
	"context"
	"time"
)

// ThinID is the number of a thin device within its pool; 24 bits, never 0.
type ThinID uint32

// Thin is what the pool's metadata says of one thin device.
type Thin struct {
	ID ThinID `json:"id"`
	// MappedBytes are the blocks mapped by this device, shared ones included.
	MappedBytes uint64 `json:"mappedBytes"`
	// TransactionID is the pool's when the device was made.
	TransactionID uint64 `json:"transactionID"`
}

// Activation is how a thin device appears as a block device.
type Activation struct {
	// Bytes is its size, a multiple of 512. It may exceed what it was made
	// with; it never shrinks below it.
	Bytes uint64
	// ReadOnly makes the block device refuse writes.
	ReadOnly bool
}

// Status is the pool at one moment.
type Status struct {
	UUID          string `json:"uuid"`
	Device        string `json:"device"` // /dev/mapper/…
	TransactionID uint64 `json:"transactionID"`
	BlockBytes    uint64 `json:"blockBytes"`
	Data          Fill   `json:"data"`
	Metadata      Fill   `json:"metadata"`
	// Mode is the kernel's: rw, ro, out_of_data_space, fail.
	Mode string `json:"mode"`
	// OutOfSpace is what a write to a full pool does: error, or queue for
	// QueueFor.
	OutOfSpace string        `json:"outOfSpace"`
	QueueFor   time.Duration `json:"queueFor"`
	// NeedsCheck: the kernel wants thin_check before it writes again.
	NeedsCheck bool `json:"needsCheck"`
	Thins      int  `json:"thins"` // thin devices that are activated
}

// Fill is one of the pool's two spaces, in bytes.
type Fill struct {
	Used  uint64 `json:"used"`
	Total uint64 `json:"total"`
	// Floor: below so much free space nothing new is admitted.
	Floor uint64 `json:"floor"`
	// Room is what the volume group could still add.
	Room uint64 `json:"room"`
}

// Devices is an open pool as its owner sees it; *Pool implements it. Methods
// may be called concurrently; calls on one id are the owner's to keep in
// order, except that Deactivate and Delete are idempotent. Every method
// honours its context between kernel calls.
//
// Errors wrap errdefs: NotFound (no such id), AlreadyExists, FailedPrecondition
// (busy: names what holds it), ResourceExhausted (full: names the pool, the
// fill and the remedy), Unavailable (the pool is read-only, failed or gone:
// names the remedy), DeadlineExceeded.
type Devices interface {
	// Catalog is the directory of the owner's records: on the pool's disk,
	// mounted for as long as the pool is open.
	Catalog() string
	// NewID takes an id that no device has or ever had. One that is not used
	// is lost, which costs nothing.
	NewID(ctx context.Context) (ThinID, error)
	// Admit refuses new allocations below the floors, ResourceExhausted. It
	// reads the guardian's last look and costs no system call.
	Admit() error
	// Create makes an empty thin device. Durable when it returns.
	Create(ctx context.Context, id ThinID) error
	// Snapshot makes id a snapshot of origin. An origin that is activated is
	// suspended with its file system frozen and flushed for the moment, so
	// that the snapshot is consistent. Durable when it returns.
	Snapshot(ctx context.Context, id, origin ThinID) error
	// Activate makes the block device of id and returns its path,
	// /dev/mapper/NAME. Of one that is active it only grows the size. A
	// deferred removal that is pending is taken back.
	Activate(ctx context.Context, id ThinID, a Activation) (path string, err error)
	// Deactivate removes the block device; with lazily one that is still
	// open goes when its last user has gone.
	Deactivate(ctx context.Context, id ThinID, lazily bool) error
	// Path is the path that Activate returns, whether active or not.
	Path(id ThinID) string
	// Active tells whether the block device exists, how often it is open,
	// and its size in bytes.
	Active(ctx context.Context, id ThinID) (active bool, open int, bytes uint64, err error)
	// Flush makes everything written to id durable: its file system, where
	// one is mounted, is frozen for the moment; one pool commit.
	Flush(ctx context.Context, id ThinID) error
	// Delete gives the device's space back. Its block device must be gone.
	// With discard the blocks that nobody shares are discarded on the disk
	// below first (config discard_on_delete says how the owner wants it).
	// Deleting what is not there is no error. Durable when it returns.
	Delete(ctx context.Context, id ThinID) error
	// Thins lists what the pool's own metadata holds, by a metadata snapshot
	// that is released before it returns.
	Thins(ctx context.Context) ([]Thin, error)
	// Reclaim deletes every thin device, active or not (but open), that
	// owned denies and whose id the catalog's windows have given out, and
	// returns their ids. Called at start and by audits. owned must also claim
	// the ids of calls that are under way, which have no record yet.
	Reclaim(ctx context.Context, owned func(ThinID) bool) ([]ThinID, error)
	// Status reads the pool's state from the kernel.
	Status(ctx context.Context) (Status, error)
	// Close unmounts the catalog. Thin devices and the pool stay active:
	// containers run on them.
	Close() error
}
