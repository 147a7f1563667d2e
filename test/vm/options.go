package vm

import (
	"io"
	"time"
)

// Accelerators.
const (
	// AccelAuto is KVM where a guest really boots with it, else emulation.
	AccelAuto = "auto"
	AccelKVM  = "kvm"
	AccelTCG  = "tcg"
)

// Options say what machine to boot. The zero value is one without disks.
type Options struct {
	// Disks are /dev/vda, /dev/vdb and so on.
	Disks []Disk
	// Memory is in bytes; 0 is 2 GiB. The guest's /tmp, /run, /var and changes
	// to its root live in it.
	Memory int64
	// CPUs is how many there are; 0 is 2.
	CPUs int
	// Shares are folders of this machine that the guest may write, at the same
	// path. They must exist.
	Shares []string
	// Tmp puts the guest's /tmp on a disk of that many bytes, with ext4, behind
	// the others; 0 leaves it in the guest's memory.
	Tmp int64
	// Keep are folders or files below /tmp, /run or /var, which are fresh in
	// the guest, that are there all the same; what the guest changes in them
	// stays in the guest. What the working directory needs is added.
	Keep []string
	// Cgroup is "v2" or "v1"; empty is "v2".
	Cgroup string
	// Udev runs systemd-udevd in the guest.
	Udev bool
	// Accel is one of the Accel constants; empty is AccelAuto.
	Accel string
	// BootTimeout is how long a boot may take; 0 is four minutes: a quiet machine needs
	// seven seconds by emulation, one shared by twenty programs a minute.
	BootTimeout time.Duration
	// KVMTimeout is how long AccelAuto tries KVM; 0 is 20 seconds. That KVM
	// failed is remembered in Cache, so the next boots do not try again.
	KVMTimeout time.Duration
	// Console gets what the guest's console says, as it says it; nil drops it.
	// The end of it is kept in any case, for Machine.Console.
	Console io.Writer
	// Program is bin/vm, which is the guest's process 1; empty is the one of
	// the repository around the working directory.
	Program string
	// Cache is the folder of the kernel; empty is build/vm of that repository.
	Cache string
	// Log hears what takes time or is chosen instead of something else; nil
	// drops it.
	Log func(string)
}

// Defaults.
const (
	defaultMemory = 2 << 30
	defaultCPUs   = 2
	defaultBoot   = 4 * time.Minute
)

// Disk is one disk of the guest.
type Disk struct {
	// Size is in bytes, a multiple of 512.
	Size int64
	// Path is a file that holds the disk and stays; empty is a sparse one,
	// empty, that is gone with the Machine (but not with a PowerCut).
	Path string
}
