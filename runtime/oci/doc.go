// Package oci makes OCI runtime specs from Kubernetes containers and drives
// an OCI runtime (runc, crun, any that has runc's command line).
//
// It prepares nothing itself: the root file system is mounted, the namespaces
// are pinned, and the volumes are in place before it is asked, and whoever
// asked takes them away. It holds no state; the runtime's own is below the
// folder it is given.
package oci
