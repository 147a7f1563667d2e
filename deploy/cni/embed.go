// Package cniconf carries the default network configuration list, so that
// `varve up` writes the same file that `make install` does. It imports nothing
// of Varve.
package cniconf

import _ "embed"

// FileName is the name under /etc/cni/net.d.
const FileName = "10-varve.conflist"

// Conflist is the file's content.
//
//go:embed 10-varve.conflist
var Conflist []byte
