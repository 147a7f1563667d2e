// Package arrows is the test of the dependency arrows between Varve's parts
// (cmd → server → driver → kernel boundary), with the reason beside each ban.
//
// It owns the rules and their checker; it reads the import graph that
// `go list` prints and touches nothing else.
package arrows
