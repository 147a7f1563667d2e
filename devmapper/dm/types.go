package dm

// Target is one line of a device's table: Length sectors of it from Start on
// are served by a target of Type with Params ("linear", "/dev/sdb 0").
type Target struct {
	Start, Length uint64 // sectors of 512 bytes
	Type, Params  string
}

// TargetStatus is what one target says of itself; Status is the target's own
// language (Documentation/admin-guide/device-mapper).
type TargetStatus struct {
	Start, Length uint64 // sectors of 512 bytes
	Type, Status  string
}

// Info is a device as the kernel described it at the moment of the call.
type Info struct {
	Name, UUID   string
	Major, Minor uint32
	// Open counts the openers: mounts, holders and file descriptors.
	Open int
	// Targets counts the lines of the live table (of the inactive one in an
	// answer about that).
	Targets int
	// Event counts the events since the device was made; see Wait.
	Event     uint32
	Suspended bool
	ReadOnly  bool
	// Live and Inactive tell which of the two table slots are filled: Load
	// fills Inactive, Resume moves it to Live.
	Live, Inactive bool
	// DeferredRemove: the device goes when its last opener has gone.
	DeferredRemove bool
}

// Entry is one device of List.
type Entry struct {
	Name, UUID   string
	Major, Minor uint32
	// Event counts the events since the device was made.
	Event uint32
}

// Device is a block device by its numbers.
type Device struct{ Major, Minor uint32 }

// Version is a version of the ioctl interface or of a target type.
type Version struct{ Major, Minor, Patch uint32 }

// TargetType is a target type that the kernel has loaded.
type TargetType struct {
	Name    string
	Version Version
}

// CreateOptions are for Create.
type CreateOptions struct {
	// Minor asks for this minor number, which must be free; 0 takes the
	// kernel's choice.
	Minor uint32
}

// SuspendOptions are for Suspend. With neither, the file system on the device
// is frozen and all its dirty data is on the device when Suspend returns.
type SuspendOptions struct {
	// NoFlush keeps I/O that is under way in a queue instead of waiting for
	// it: the only suspend that ends on a device whose pool is full or gone.
	NoFlush bool
	// SkipLockFS leaves the file system alone (it is not frozen).
	SkipLockFS bool
}

// StatusOptions are for Status.
type StatusOptions struct {
	// NoFlush asks a thin pool for its numbers without making it commit
	// first. They may lag behind by what has not been committed.
	NoFlush bool
}
