package guard

import "time"

// Space is one of a pool's two spaces, in bytes.
type Space struct{ Used, Total uint64 }

// Free is what is left.
func (s Space) Free() uint64 { return s.Total - min(s.Used, s.Total) }

// Fill is what is used, in percent, rounded down.
func (s Space) Fill() int {
	if s.Total == 0 {
		return 0
	}
	return int(min(s.Used, s.Total) * 100 / s.Total) //nolint:gosec // at most 100; a space is below 2^57 bytes
}

// Mode is what a pool can do. The words are the kernel's.
type Mode string

// The modes.
const (
	Write       Mode = "rw"
	OutOfData   Mode = "out_of_data_space"
	ReadOnly    Mode = "ro"
	Failed      Mode = "fail"
	unknownMode Mode = ""
)

// Status is a pool at one moment, as the kernel reports it.
type Status struct {
	Data, Metadata Space
	Mode           Mode
	// NeedsCheck: the kernel has met an error in the metadata and writes no
	// more until they have been checked or repaired.
	NeedsCheck bool
	// ErrorIfFull is what the pool does now when it is full; also true after
	// the kernel's own time-out.
	ErrorIfFull bool
	// Event is the pool's event number.
	Event uint32
}

// Room is what the volume group could still add, in bytes.
type Room struct {
	Bytes uint64
	// Known is false without LVM, and before the first look at the group.
	Known bool
}

// Scene is everything that a decision is made of.
type Scene struct {
	Status
	Room Room
	// FullFor is how long the data space has been full, 0 when it is not.
	FullFor time.Duration
	// KernelTimeout is dm_thin_pool.no_space_timeout; 0 means for ever, and
	// -1 that it could not be read.
	KernelTimeout time.Duration
	// ExtendFailed is the last attempt's error, BehaviourFailed that of
	// setting the out-of-space behaviour; nil when it went well.
	ExtendFailed, BehaviourFailed error
}
