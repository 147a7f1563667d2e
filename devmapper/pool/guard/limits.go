package guard

import "time"

// Limits are what the operator set for a pool.
type Limits struct {
	// Pool names the pool in errors, findings and metrics ("vg/pool").
	Pool string
	// Group is the volume group that the pool can grow in; empty without LVM.
	Group string
	// Files: the pool lies in files, which `pool extend` enlarges as asked.
	Files bool
	// MinFreeData and MinFreeMetadata are the floors, in percent of the
	// space, below which nothing new is admitted; 0 is no floor.
	MinFreeData, MinFreeMetadata int
	// ExtendAt is the fill in percent at which a space is extended, by
	// ExtendBy percent of itself; 0 leaves spaces as they are.
	ExtendAt, ExtendBy int
	// Queue: writes to a full pool wait, for QueueFor at most; else they fail
	// at once. QueueFor 0 leaves the bound to the kernel's parameter alone.
	Queue    bool
	QueueFor time.Duration
}

// MaxMetadata is the size in bytes above which no metadata is extended: LVM's
// largest, a little below the 255 * 16,320 blocks of 4 KiB that the kernel
// uses (DM_SM_METADATA_MAX_BLOCKS).
const MaxMetadata = 15<<30 + 828<<20

// granule is the least that is worth an extension, and what its size is
// rounded up to: LVM's extent unless a group was made with another.
const granule = 4 << 20

// percent is p hundredths of n, without overflow.
func percent(n uint64, p int) uint64 {
	whole := uint64(max(p, 0)) //nolint:gosec // not negative
	return n/100*whole + n%100*whole/100
}

// dataFloor and metadataFloor are how many bytes stay free.
func (l Limits) dataFloor(total uint64) uint64     { return percent(total, l.MinFreeData) }
func (l Limits) metadataFloor(total uint64) uint64 { return percent(total, l.MinFreeMetadata) }

// low is the free space below which something has to be done: an extension is
// due, or the floor is reached.
func (l Limits) low(total, floor uint64) uint64 {
	if l.ExtendAt > 0 && l.ExtendAt <= 100 {
		return max(floor, percent(total, 100-l.ExtendAt))
	}
	return floor
}

// LowWater is the low-water mark for the table of a pool with that much data
// space, in its blocks. It lies above the first limit by two hundredths of the
// pool, so that the event comes before the limit does: the kernel sends one
// only.
func LowWater(l Limits, dataBytes, blockBytes uint64) uint64 {
	if blockBytes == 0 {
		return 0
	}
	mark := l.low(dataBytes, l.dataFloor(dataBytes)) + percent(dataBytes, 2)
	return min(mark, dataBytes) / blockBytes
}
