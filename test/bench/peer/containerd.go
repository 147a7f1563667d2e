// Package peer starts the peers' own pinned binaries with a root, a state and
// a socket of their own, so that they neither see nor disturb those of the
// machine.
package peer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/varve-project/varve/test/bench/proc"
)

// ContainerdVersion is what test/peers/containerd pins.
const ContainerdVersion = "containerd v2.4.2"

// Proxy is the text of a [proxy_plugins] entry for a snapshotter behind a
// socket. Ours comes from `varve-overlay stanza` instead.
func Proxy(name, socket string, capabilities ...string) string {
	return fmt.Sprintf("[proxy_plugins.%q]\n  type = \"snapshot\"\n  address = %q\n  capabilities = [\"%s\"]\n",
		name, socket, strings.Join(capabilities, `", "`))
}

// Containerd is a running containerd.
type Containerd struct {
	*proc.Daemon
	Socket string
	Conn   *grpc.ClientConn
}

// maxMessage is containerd's own limit for its clients.
const maxMessage = 16 << 20

// StartContainerd starts binary below dir with its shipped configuration but
// for paths, without CRI and the snapshotters that no benchmark uses, and
// with the [proxy_plugins] stanzas. Sockets lie below run, whose name must be short.
func StartContainerd(ctx context.Context, binary, dir, run string, stanzas []string) (*Containerd, error) {
	for _, d := range []string{dir, run} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	config := filepath.Join(dir, "config.toml")
	socket := filepath.Join(run, "containerd.sock")
	if err := os.WriteFile(config, []byte(configText(dir, run, socket, stanzas)), 0o644); err != nil {
		return nil, err
	}
	daemon, err := proc.Start(ctx, filepath.Join(dir, "containerd.log"), socket, binary, "--config", config)
	if err != nil {
		return nil, err
	}
	conn, err := Dial(socket)
	if err != nil {
		_ = daemon.Stop()
		return nil, err
	}
	return &Containerd{Daemon: daemon, Socket: socket, Conn: conn}, nil
}

// Stop closes the connection and ends the daemon.
func (c *Containerd) Stop() error {
	_ = c.Conn.Close()
	return c.Daemon.Stop()
}

// Dial connects to a unix socket as containerd's clients do.
func Dial(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
}

func configText(dir, run, socket string, stanzas []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `version = 4
root = %q
state = %q
temp = %q
imports = []
disabled_plugins = [
  "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri",
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.btrfs",
]

[plugins.'io.containerd.server.v1.grpc']
  address = %q

[plugins.'io.containerd.server.v1.ttrpc']
  address = %q
`, filepath.Join(dir, "root"), filepath.Join(run, "state"), filepath.Join(dir, "temp"), socket, socket+".ttrpc")
	for _, stanza := range stanzas {
		b.WriteString("\n" + stanza)
	}
	return b.String()
}
