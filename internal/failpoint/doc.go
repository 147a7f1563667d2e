// Package failpoint marks the steps of mutating calls at which test/crash
// kills the process.
//
// A mutating call has a point before and after each of its effects:
//
//	failpoint.Hit("overlay.prepare.mkdir.before")
//	err := os.Mkdir(dir, 0o700)
//	failpoint.Hit("overlay.prepare.mkdir.after")
//
// Names are "PART.CALL.EFFECT.before" and "PART.CALL.EFFECT.after". In an
// ordinary build Hit is an empty function that the compiler removes. In a
// build with the tag "failpoint" two environment variables drive it:
//
//	VARVE_FAILPOINT=NAME=ACTION[@N]   do ACTION at the Nth hit of NAME (N from 1, default 1)
//	VARVE_FAILPOINT_LOG=FILE          append each name hit, one line each
//
// ACTION is "kill" (SIGKILL to the own process), "stop" (SIGSTOP) or
// "sleep:DURATION". The crash harness first runs a call with a log to learn
// its points, and then once more for each of them; a mutating call that logs
// none fails the harness.
package failpoint
