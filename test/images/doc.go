// Package images builds container images for tests and the demo: small ones
// from entries in memory, well-formed or hostile, and two real ones from the
// distribution's packages (Busybox, Debian). It writes OCI layouts, OCI
// archives and docker archives; it knows nothing of who reads them.
package images
