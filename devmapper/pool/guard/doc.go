// Package guard watches one thin pool, so that it does not fill up unannounced:
// below its floors nothing new is admitted, where the volume group has room
// the pool is extended before, and whatever is wrong becomes a finding with
// the command that mends it. It decides; the pool's owner gives it the means
// (Pool, Store). It never touches a thin device.
//
// # When it looks
//
// At every event of the pool's device, and by a clock. An event comes when
// free data blocks reach the low-water mark of the pool's table (LowWater
// computes it), when free metadata fall to what the kernel keeps (4 MiB or a
// quarter), and at every change of mode. Of the first kind the kernel sends
// one only until the pool is resumed (low_water_triggered in dm-thin.c), and a
// pool whose table LVM wrote has no mark at all unless LVM itself is to extend
// it. So the clock ticks every five seconds, every second near a limit, and
// Admit has it tick there when the last look is not fresh. A look costs one
// ioctl and makes the pool write nothing.
//
// # What happens to writes when the data space is full
//
// The kernel knows two behaviours (feature error_if_no_space). With "error" a
// write that needs a block fails at once: the file system above sees ENOSPC,
// at write-back, so it may drop data that a program took for written, or turn
// read-only. With "queue" it waits for the pool to be extended and loses
// nothing, but whoever waits sits in an uninterruptible sleep.
//
// The kernel's own bound of that wait is dm_thin_pool.no_space_timeout, 60
// seconds unless changed: one parameter for all thin pools of the machine, so
// that we leave it alone. The wait that the operator asked for (QueueFor) is
// kept by the guard: it turns the pool to "error" when the time is over, which
// fails what waits, and back to "queue" when there is space again. Therefore
//
//   - a wait is the shorter of QueueFor and the kernel's parameter; where the
//     parameter is the shorter, a finding says so;
//   - while no guard runs, the kernel's parameter alone bounds it; where that
//     is 0, for ever, a finding says so.
//
// A pool that is full leaves that mode by itself when it is extended or when
// blocks are freed and a commit notices. A full metadata space makes a pool
// read-only, which its extension ends too. A failed pool, or one that needs a
// check, nothing ends but repair.
//
// Sources: drivers/md/dm-thin.c (set_pool_mode, check_low_water_mark,
// do_no_space_timeout, maybe_resize_metadata_dev) and
// Documentation/admin-guide/device-mapper/thin-provisioning.rst.
package guard
