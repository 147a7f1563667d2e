// Package pod holds what the runtime knows of a pod: its record, what is
// wanted of it, how it is doing, and the story of its start. All of it is
// files, and this package owns them:
//
//	ROOT/runtime/pods/NAMESPACE_NAME/pod.json       the record; written once, before any effect
//	ROOT/runtime/pods/NAMESPACE_NAME/desired.json   run, stop or remove; written by commands
//	ROOT/runtime/pods/NAMESPACE_NAME/status.json    how it is doing; written by the lock's holder
//	ROOT/runtime/pods/NAMESPACE_NAME/journal.jsonl  its phases; appended by the lock's holder
//	ROOT/runtime/pods/NAMESPACE_NAME/logs/          the containers' output
//	STATE/runtime/locks/NAMESPACE_NAME.lock         held by the pod's supervisor while it lives
//
// The package starts nothing and mounts nothing: runtime/supervise makes the
// effects, from what it reads here. Every name an effect needs (namespaces,
// cgroups, snapshots, container ids) follows from the record's UID, so that
// whoever holds the record can take away what a crash left.
package pod
