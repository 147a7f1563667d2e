// Package leak counts what a node holds in the kernel, so that a test can say
// what it left behind: mounts, namespaces, links, nftables tables, rules and
// set elements, loop devices, cgroups and processes.
//
// The kernel alone is asked (mountinfo, /proc, netlink, sysfs); no record of
// Varve's is read, so a forgotten thing is found whether or not somebody has
// it on a list. The package changes nothing.
//
// Things are compared by a key that the kernel does not give out twice (a
// mount's id and place, a process's id and start time), so that a thing which
// was replaced counts as leaked.
package leak

// Scope says what belongs to the caller. Loop devices and cgroups are shared by
// the whole machine, and so are mounts and processes unless the caller made
// namespaces of its own, so they are counted by name.
type Scope struct {
	// Paths are folders of the caller's own, absolute. A mount counts whose
	// mount point or source lies at or below one of them; a loop device whose
	// backing file does; a process that was started from there, works or is
	// rooted there, names one in its arguments, or descends from such a one.
	Paths []string
	// Cgroups are texts; a cgroup counts whose path contains one, and so does
	// every process in it.
	Cgroups []string

	// OwnMounts: the calling thread's mount namespace is the caller's own, so
	// every mount in it counts.
	OwnMounts bool
	// OwnNetwork: the calling thread's network namespace is the caller's own.
	// Links and nftables are counted only then: a host's others come and go.
	OwnNetwork bool
	// OwnProcesses: the caller has a PID namespace of its own and /proc shows
	// that one, so every process but the calling one counts.
	OwnProcesses bool
}
