// Package crash proves the promise of a crash: SIGKILL at any step of any
// mutating call loses nothing that was acknowledged, leaves nothing behind for
// longer than one reconcile, and the call works when it is made again.
//
// A part is a table of cases. Each case is first run once with a log of the
// failpoints (see internal/failpoint) that its call hits; a mutating call that
// hits none fails the test. Then, for each of these points, a fresh world is
// set up, the process is killed there, started again, and the kernel, the disk
// and the records are compared with what was acknowledged.
//
// The parts are driven through their public interfaces only, as programs built
// with the tag "failpoint". A test binary runs on a node of its own
// (test/node), so that whatever a crash leaves is seen, and is nobody else's.
package crash
