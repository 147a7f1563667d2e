// Package attach is the engine of the CNI plug-in: it attaches a network
// namespace to a bridge and takes it off again (ADD, DEL, CHECK, STATUS, GC).
//
// It reads the language of the reference plug-ins bridge, host-local, portmap
// and bandwidth (Keys lists every key and what becomes of it), keeps its
// records in cni-plugin/ipam, and its packet rules in cni-plugin/rules. It
// owns the veth pairs, the bridge where it made it, and the sysctls listed in
// docs/cni.md. It never starts a process and never touches a link whose alias
// is not its own, or another network's lease.
//
// Every call holds the attachment's key lock from its first look at the
// record to its answer; the record goes ahead of every effect, each effect is
// idempotent to undo, and whoever next holds the lock undoes what a killed
// process left.
package attach
