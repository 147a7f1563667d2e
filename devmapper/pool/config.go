package pool

import "github.com/varve-project/varve/internal/service"

// Config is the [pool] table of a daemon's configuration. Exactly one of
// VolumeGroup, ThinPool, DataDevice (with MetadataDevice) and LoopDirectory
// says where the pool lies; `pool create` writes it.
type Config struct {
	// VolumeGroup holds a pool that `pool create` made: the volumes
	// varve-pool and varve-catalog.
	VolumeGroup string `toml:"volume_group" comment:"Exactly one of volume_group, thin_pool, data_device and loop_directory says where the pool lies. volume_group: a volume group with the volumes varve-pool and varve-catalog, as pool create makes it from a raw disk."`
	// ThinPool is an existing thin-pool volume, as "vg/lv". It must hold no
	// thin volumes of LVM's own.
	ThinPool string `toml:"thin_pool" comment:"GROUP/VOLUME: an existing thin-pool volume without thin volumes of LVM's own; its catalog is the volume VOLUME-catalog beside it."`
	// DataDevice and MetadataDevice are two block devices for a pool without
	// LVM.
	DataDevice     string `toml:"data_device" comment:"Two block devices for a pool without LVM, by names that survive a reboot (/dev/disk/by-id/...)."`
	MetadataDevice string `toml:"metadata_device"`
	// LoopDirectory holds three files for trying out. Slow, and a full host
	// file system loses the pool: the daemon warns.
	LoopDirectory string `toml:"loop_directory" comment:"A directory with three image files, for trying out only: slow, and a full host file system breaks the pool."`

	// MinFreeData and MinFreeMetadata are the floors, in percent, below
	// which nothing new is admitted.
	MinFreeData     int `toml:"min_free_data" comment:"Percent of the pool's data space, and of its metadata, below which no new snapshot is admitted. What runs goes on."`
	MinFreeMetadata int `toml:"min_free_metadata"`
	// ExtendAt is the fill in percent at which the guardian extends a pool
	// whose volume group has room, by ExtendBy percent; 0 leaves it alone.
	ExtendAt int `toml:"extend_at" comment:"Fill in percent at which the pool is extended by extend_by percent, while its volume group has room; 0: never."`
	ExtendBy int `toml:"extend_by"`
	// OutOfSpace is what a write to a pool without free blocks does: "error"
	// (the file system above fails at once) or "queue" (it waits QueueFor
	// for the pool to be extended, then fails).
	OutOfSpace string `toml:"out_of_space" comment:"What a write does when the pool is full: \"error\" (the container's file system gets an error at once) or \"queue\" (the container hangs, for queue_for at most, until the pool is extended; then it gets the error)."`
	// QueueFor bounds that wait; 0 leaves it to the kernel's own parameter
	// (dm_thin_pool.no_space_timeout, 60 seconds unless changed).
	QueueFor service.Duration `toml:"queue_for"`
	// DiscardOnDelete passes the discards of a deleted device down to the
	// disk.
	DiscardOnDelete bool `toml:"discard_on_delete" comment:"Tell the disk which blocks a removed snapshot leaves unused."`
}

// DefaultConfig is what is shipped, but for where the pool lies.
func DefaultConfig() Config {
	return Config{
		MinFreeData: 10, MinFreeMetadata: 10, ExtendAt: 80, ExtendBy: 20,
		OutOfSpace: outOfSpaceError, DiscardOnDelete: true,
	}
}
