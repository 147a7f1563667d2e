package pool

import "time"

// Config is the [pool] table of a daemon's configuration. Exactly one of
// VolumeGroup, ThinPool, DataDevice (with MetadataDevice) and LoopDirectory
// says where the pool lies; `pool create` writes it.
type Config struct {
	// VolumeGroup holds a pool that `pool create` made: the volumes
	// varve-pool and varve-catalog.
	VolumeGroup string `toml:"volume_group"`
	// ThinPool is an existing thin-pool volume, as "vg/lv". It must hold no
	// thin volumes of LVM's own.
	ThinPool string `toml:"thin_pool"`
	// DataDevice and MetadataDevice are two block devices for a pool without
	// LVM.
	DataDevice     string `toml:"data_device"`
	MetadataDevice string `toml:"metadata_device"`
	// LoopDirectory holds three files for trying out. Slow, and a full host
	// file system loses the pool: the daemon warns.
	LoopDirectory string `toml:"loop_directory"`

	// MinFreeData and MinFreeMetadata are the floors, in percent, below
	// which nothing new is admitted.
	MinFreeData     int `toml:"min_free_data"`
	MinFreeMetadata int `toml:"min_free_metadata"`
	// ExtendAt is the fill in percent at which the guardian extends a pool
	// whose volume group has room, by ExtendBy percent; 0 leaves it alone.
	ExtendAt int `toml:"extend_at"`
	ExtendBy int `toml:"extend_by"`
	// OutOfSpace is what a write to a pool without free blocks does: "error"
	// (the file system above fails at once) or "queue" (it waits QueueFor
	// for the pool to be extended, then fails).
	OutOfSpace string        `toml:"out_of_space"`
	QueueFor   time.Duration `toml:"queue_for"`
	// DiscardOnDelete passes the discards of a deleted device down to the
	// disk.
	DiscardOnDelete bool `toml:"discard_on_delete"`
}
