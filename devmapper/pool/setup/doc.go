// Package setup makes, shows, checks, widens, mends and dismantles a thin pool
// on disks: what `varve-devmapper pool` does. It owns the way from raw devices
// to the three volumes that devmapper/pool opens (data, metadata, catalog) and
// back; it never touches a thin device of a pool that somebody runs, and never
// anything on a disk that create did not make or was not told to wipe by name.
//
// Every command that changes something goes the same way:
//
//	look      Disk, Group, …: what is there, read from kernel, LVM and journal
//	plan      pure: what is asked and what is there make a Plan, or an error
//	run       the Plan's steps, each between two failpoints
//
// A dry run prints the Plan that a run would execute. A run that was cut off
// is repeated from the start: what is there by then is looked at again, and
// the plan holds only what is still missing. Who made what is written before
// it is made: in a journal in the daemon's root, and in LVM's own metadata as
// tags (varve.pool=UUID), so that a half-made set is known also without the
// journal.
package setup
