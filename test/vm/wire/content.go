package wire

// Hello is the agent's first frame.
type Hello struct {
	Version int
}

// Setup says how the guest's root is made.
type Setup struct {
	Hostname string
	// Modules is the host's folder that holds RELEASE/ of the kernel's
	// modules; it appears as /lib/modules.
	Modules string
	// Cgroup is "v1" or "v2".
	Cgroup string
	// Udev starts systemd-udevd.
	Udev bool
	// Shares are host folders that are writable at the same path.
	Shares []Share
	// Keep are host folders below those that are fresh in the guest (/tmp, …)
	// which appear all the same, as copies that are changed in the guest only.
	Keep []string
	// Tmp is the device of /tmp, with ext4; empty is a tmpfs.
	Tmp string
	// Time is the host's, in nanoseconds since 1970.
	Time int64
}

// Share is one host folder and the tag under which 9p finds it.
type Share struct {
	Tag, Path string
}

// Ready answers Setup. An empty Error means that commands may start.
type Ready struct {
	Error string
}

// Command is what to run, as root.
type Command struct {
	Args []string
	Env  []string
	Dir  string
	// Stdin says that TypeStdin frames come; else it reads /dev/null.
	Stdin bool
}

// Exit is how a command ended. Exactly one of the three tells.
type Exit struct {
	// Code is its exit status.
	Code int
	// Signal is what killed it, or 0.
	Signal int
	// Error says why it could not be started.
	Error string
}
