// Package pod holds the tests of the reference runtime as its users meet it:
// the built `varve` with the built daemons and the CNI plug-in, on a node of
// their own (test/node), with the real runc. Nothing of the runtime is linked
// into them; they run commands, and look at the kernel.
package pod
