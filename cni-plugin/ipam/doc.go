// Package ipam owns the lease store of the CNI plug-in: which attachment holds
// which address, what ADD did for it, and which addresses rest. It never
// touches a link, a rule or a network namespace; cni-plugin/attach does, and
// writes here first.
//
// # Layout
//
// Many short-lived processes share DATADIR/NETWORK:
//
//	leases/KEY         one Lease per attachment: the truth
//	gone/BUCKET/KEY    tombstones of DELs, by the time bucket of the DEL
//	locks/KEY          flock of the operation under way on one attachment;
//	                   the file goes with its last holder
//	index              which addresses are leased or rest, derived from the
//	                   leases; flock on index.lock guards it
//	index.lock
//	imported           host-local's reservations have been taken over
//	swept              when the network was last looked through for dead leases
//
// # Why two processes never hold one address
//
// An address is chosen, entered in the index and written into its lease in
// one critical section under index.lock. Both files change by a rename, so a
// killed process leaves either the old file or the new one, and the index
// changes first: killed in between, an address is withheld that no lease
// names, which the next Reclaim finds; an address named by a lease and unknown
// to the index cannot arise. The index is stamped with the boot id: absent,
// unreadable or of another boot, it is rebuilt from the leases.
//
// # What is synced, and what need not be
//
// Nothing is synced under index.lock. ADD syncs its lease once (the file and
// its folder: two fsyncs) after the critical section and before the first
// effect. Everything else is renamed without a sync: a power cut ends the
// boot, and with it every lease, tombstone and rest, so the worst that it can
// leave is a record that its boot id or its shape gives away as dead.
//
// # Locks
//
// Order: locks/KEY, then index.lock. ADD, DEL, CHECK and repair of one
// attachment hold its key lock from entry to exit; index.lock is held for
// microseconds and never across a system call other than file reads, writes
// and renames.
package ipam
