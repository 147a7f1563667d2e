// Package supervise makes a pod's effects and looks after it. One process per
// pod, `varve supervise`, holds the pod's lock from its first effect to its
// last; it survives the command that started it.
//
// It is level-triggered: it reads the record, what is wanted and what is
// there, and goes on from that. A supervisor that is killed leaves its
// containers running; the next one, started by any varve command, adopts
// them. There is no difference between a start and a repair but in what is
// found.
//
// It calls runtime/image, runtime/network, runtime/volume and runtime/oci for
// the effects and writes through runtime/pod. It prints nothing.
package supervise
