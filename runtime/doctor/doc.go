// Package doctor looks at a node and says what is wrong with it, in findings
// that carry their meaning and the command that mends them.
//
// It owns the checks of what lies between the parts: the kernel, the sockets
// and who serves them, containerd's and CNI's configuration against what the
// plug-ins offer, and what the runtime itself left behind (namespaces, mounts,
// containers, cgroups and supervisors without a pod). What lies within a part
// that part's own `varve-NAME doctor` finds; Run executes those and passes
// their findings on, so the package imports no plug-in.
//
// It changes nothing. A probe that has to make something makes it where
// nobody else looks (a detached mount, a throw-away network namespace) and it
// is gone when the probe returns. Mending is the caller's: the findings name
// the commands, and those of orphans may be run without asking.
package doctor
