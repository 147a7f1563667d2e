// Package dm speaks to the kernel's device-mapper: the ioctls of
// /dev/mapper/control, in Go, without libdevmapper and without dmsetup. It
// owns no device and keeps no state; it knows targets as text only.
//
// Sizes are in sectors of 512 bytes, as the kernel has them. Below it is one
// function, the ioctl, which a recorder replaces in tests.
//
// Sources: Linux include/uapi/linux/dm-ioctl.h, drivers/md/dm-ioctl.c,
// Documentation/admin-guide/device-mapper.
package dm
