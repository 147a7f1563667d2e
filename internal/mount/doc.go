// Package mount is the kernel boundary for file systems on block devices:
// mount, bind, unmount, look up, recognise by signature, grow and freeze. It
// execs nothing and keeps nothing; what is mounted where is asked of
// /proc/self/mountinfo each time.
//
// It never makes, checks or repairs a file system, and never decides what to
// mount: callers bring the options, checked by ParseOptions.
package mount
