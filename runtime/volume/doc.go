// Package volume gives pods their volumes: claims that a CSI driver serves,
// and the two kinds that need no driver, emptyDir and hostPath.
//
// It speaks CSI over a socket, as kubelet and the CSI sidecars do together,
// and calls only what the driver says it can do. Its records are files:
//
//	ROOT/runtime/volumes/NAMESPACE_NAME.json    a claim and the volume made for it
//	ROOT/runtime/snapshots/NAMESPACE_NAME.json  a snapshot
//	STATE/runtime/volumes/NAMESPACE_NAME/       what this boot staged, and for whom
//
// A record is written before the driver is asked, under a name that follows
// from it, so that a repeated call finds what an earlier one made. Where the
// driver keeps the data is no business of this package.
package volume
