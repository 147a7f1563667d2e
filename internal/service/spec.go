// Package service is the scaffolding of every Varve daemon: flags over a TOML
// file, one gRPC socket (own or handed over by systemd), health, metrics,
// readiness, drain, and the sub-commands that all daemons share.
//
// A daemon's main is a Spec and a call of Main. The package never knows what
// is served.
package service

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/varve-project/varve/internal/finding"
)

// Common is the part of a configuration that every daemon has. A daemon's own
// configuration struct embeds it.
type Common struct {
	// Root holds what must outlive a reboot (/var/lib/varve/NAME).
	Root string `toml:"root" comment:"Folder for everything that must outlive a reboot."`
	// Address is the path of the gRPC socket (/run/varve/NAME.sock).
	Address string `toml:"address" comment:"Path of the gRPC socket, mode 0600."`
	// MetricsAddress is host:port for /metrics, /healthz and /debug/pprof;
	// empty means off.
	MetricsAddress string `toml:"metrics_address" comment:"host:port for /metrics, /healthz and /debug/pprof; empty is off."`
	// LogLevel is one of debug, info, warn, error.
	LogLevel string `toml:"log_level" comment:"debug, info, warn or error."`
	// LogFormat is text or json.
	LogFormat string `toml:"log_format" comment:"text or json."`
	// DrainTimeout bounds how long calls under way may take after SIGTERM.
	DrainTimeout Duration `toml:"drain_timeout" comment:"How long calls under way may take after SIGTERM."`
}

// Duration is a time.Duration that TOML reads and writes as text ("30s").
type Duration time.Duration

// Spec describes one daemon; C is its configuration struct.
type Spec[C any] struct {
	// Name is the short name: "overlay" for varve-overlay. It gives the
	// default paths /etc/varve/NAME.toml, /var/lib/varve/NAME and
	// /run/varve/NAME.sock.
	Name string
	// Short is the one-line description in the help text.
	Short string
	// Default returns the shipped configuration. Its toml tags name the
	// keys, its comment tags explain them (`config default` prints both).
	Default func() C
	// Common points at the Common embedded in a C.
	Common func(*C) *Common
	// Flags adds the daemon's own flags; their targets are fields of C.
	// Flags win over the file, and every sub-command takes them. May be nil.
	Flags func(cmd *cobra.Command, config *C)
	// Check refuses a configuration that cannot work with an error that
	// names key, value and remedy. It changes nothing. May be nil.
	Check func(*C) error
	// Open makes the daemon ready to serve: open the root, repair what a
	// crash left, register services on the server. It returns what Close
	// releases. It is called after the root is locked against a second
	// instance and before the socket accepts: a client that connects
	// meanwhile waits. ctx ends when the daemon is told to stop during Open;
	// after that it lives until just before Close, so that work in the
	// background may hang on it.
	Open func(ctx context.Context, config *C, server *grpc.Server) (Service, error)
	// Interceptors returns the daemon's own interceptors
	// (grpc.ChainUnaryInterceptor, grpc.ChainStreamInterceptor) and other
	// options of the server. They run inside those of this package, which
	// count, log and recover. May be nil.
	Interceptors func(config *C) []grpc.ServerOption
	// Doctor looks at what is wrong, with or without a running daemon, and
	// changes nothing.
	Doctor func(ctx context.Context, config *C) (finding.List, error)
	// Commands adds sub-commands of the daemon's own ("stanza"). Each gets
	// the loaded configuration through the function. May be nil.
	Commands func(load func(*cobra.Command) (*C, error)) []*cobra.Command
}

// Service is an open daemon. One that is also a prometheus.Collector is
// registered with the metrics.
type Service interface {
	// Close releases everything; it is called once, after the last call has
	// ended or the drain timeout has passed.
	Close() error
}
