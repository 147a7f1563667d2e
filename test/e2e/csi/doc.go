// Package csi drives the real varve-csi over its socket, as an orchestrator
// would: the official csi-sanity, data that must survive snapshots, growth,
// busy mounts and kill -9, and a count of what the kernel has left afterwards.
//
// Its tests need root. They work in folders of their own and touch no loop
// device, mount or process that they have not made.
package csi
