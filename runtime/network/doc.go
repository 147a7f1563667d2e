// Package network gives a pod its sandbox: the namespaces that its containers
// share, pinned to files so that no process has to hold them, and its place
// in a CNI network.
//
// It speaks CNI through libcni and nothing else; it makes no link, address or
// rule of its own. Every call is idempotent, so that whoever finds a pod's
// record may repeat it.
package network
