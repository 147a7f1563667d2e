// Package thinmeta reads the metadata of a dm-thin pool from its disk: which
// thin devices there are, which data blocks each of them maps, and which
// blocks differ between two of them. The kernel's own interface tells none of
// this. The package only reads; whoever changes a pool sends messages to the
// kernel.
//
// # Live pools
//
// The main tree of an active pool must not be read: the kernel rewrites and
// reuses its blocks at every commit. One sends "reserve_metadata_snap" to the
// pool, opens the metadata device, reads what Held returns, and sends
// "release_metadata_snap". Held names trees that the kernel then leaves
// alone. The main tree is for pools that are not active.
//
// The kernel reads and writes the metadata device beneath its page cache, so
// an ordinary read of the device may be answered with a page from long ago.
// OpenDevice reads past the cache.
//
// # Trust
//
// Whatever is on the disk, reading it neither panics nor runs for ever nor
// holds more than a few blocks in memory: every block is checked by checksum
// and by its own number, every node for its bounds, the order of its keys, and
// that they lie within what its parent says; depth is limited and equal for
// all leaves. A disk that lies gets ErrCorrupt, with the block's number.
//
// Sources: Linux drivers/md/dm-thin-metadata.c (the layout, in its opening
// comment), drivers/md/persistent-data/dm-btree-internal.h and
// dm-space-map-common.h; Documentation/admin-guide/device-mapper/
// thin-provisioning.rst.
package thinmeta
