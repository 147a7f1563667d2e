// Package dm speaks to the kernel's device-mapper: the ioctls of
// /dev/mapper/control, in Go, without libdevmapper and without dmsetup. It
// owns no device and keeps no state; it knows targets as text only. Above it,
// devmapper/pool knows what the texts mean.
//
// Sizes are in sectors of 512 bytes, as the kernel has them. Below it is one
// function, the ioctl, which a recorder replaces in tests (dm/recorder).
//
// A device is made in three steps, each an ioctl; Activate does all three:
//
//	ctl, err := dm.Open(dm.WithoutScan())
//	path, err := ctl.Activate("scratch", "EXAMPLE-scratch", false,
//		dm.Target{Start: 0, Length: 2048, Type: "linear", Params: "/dev/sdb 0"},
//		dm.Target{Start: 2048, Length: 2048, Type: "zero"})
//	// path is /dev/mapper/scratch
//	err = ctl.Remove("scratch")
//
// # Names and nodes
//
// A name reaches the kernel as it is; nothing is escaped. So that the node has
// the same name whoever makes it, new names are held to the characters that
// libdevmapper writes without its \x20 and udev without its '_'. Devices that
// others named are found under the names that the kernel has.
//
// The node /dev/mapper/NAME comes with Resume, not with Create: before, there
// is nothing to read. Who makes it:
//
//   - where no udevd listens (/run/udev/control), or with WithoutUdev, this
//     package: a link to ../dm-N, or a block node where /dev has no dm-N;
//   - where one does, udevd. Each call that makes a uevent has a cookie, a
//     System V semaphore as libdevmapper's, and waits for it, 10 seconds at
//     most (WithPatience). Then it goes on without udevd, does the node's work
//     itself, and succeeds; Overdue counts. Semaphores of processes that were
//     killed meanwhile go at the next Open;
//   - with WithoutScan this package again, although udevd hears of the device:
//     its rules are told to keep off, and nobody waits.
//
// # Deadlines and locks
//
// An ioctl cannot be interrupted. Most take microseconds; a suspend takes as
// long as the I/O that is under way, a message to a thin pool or a status
// without NoFlush a commit of the pool. Callers with a deadline let the call
// go on in a goroutine. No lock is held over an ioctl here; the kernel has
// its own for each device. Calls on one name are the caller's to keep in
// order.
//
// Sources: Linux include/uapi/linux/dm-ioctl.h, drivers/md/dm-ioctl.c,
// Documentation/admin-guide/device-mapper; libdevmapper.h and 10-dm.rules for
// the cookies.
package dm
