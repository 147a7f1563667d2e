package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/internal/finding"
)

var (
	suiteDown = define(Definition{
		ID: "runtime.suite.down", Severity: finding.Info,
		Text:    "no daemon of this suite runs, and it has no pods",
		Meaning: "Nothing is wrong; nothing can start either. Some checks need a running daemon and were left out.",
		Remedy:  "Start the suite (with systemd: `systemctl start varve-overlay varve-csi`).",
		Command: "{varve} up",
	})
	daemonDown = define(Definition{
		ID: "runtime.daemon.down", Severity: finding.Error,
		Text:    "varve-{name} is not running: there is no socket {object}",
		Meaning: "Whoever needs it gets \"no such file or directory\"; in containerd's log that is \"snapshotter not loaded\" or \"driver name not found\". Pods that run go on.",
		Remedy:  "Start it (with systemd: `systemctl start varve-{name}`).",
		Command: "{varve} up",
	})
	socketDead = define(Definition{
		ID: "runtime.socket.dead", Severity: finding.Error,
		Text:    "{object} is left over: varve-{name} was killed, and nobody serves it",
		Meaning: "Whoever needs it gets \"connection refused\". Pods that run go on; no new one starts.",
		Remedy:  "Start the daemon again; it repairs what the kill left and replaces the socket (with systemd: `systemctl restart varve-{name}`).",
		Command: "{varve} up",
	})
	socketNotOurs = define(Definition{
		ID: "runtime.socket.not-a-socket", Severity: finding.Error,
		Text:    "{object}, the address of varve-{name}, is a {type}, not a socket",
		Meaning: "The daemon refuses to start over a file that it did not make.",
		Remedy:  "See what it is, and move it away.",
		Command: "mv {object} {object}.old",
	})
	socketExposed = define(Definition{
		ID: "runtime.socket.exposed", Severity: finding.Error,
		Text:    "{object} has owner {owner} and mode {mode}; it must belong to root with mode 0600",
		Meaning: "Whoever may write to it can mount and delete as root.",
		Remedy:  "Take the access back, and find out who gave it: the daemons make their sockets 0600.",
		Command: "chown 0:0 {object} && chmod 600 {object}",
	})
	daemonNotServing = define(Definition{
		ID: "runtime.daemon.not-serving", Severity: finding.Error,
		Text:    "varve-{name} holds {object} but does not serve: {reason}",
		Meaning: "It is starting, draining, or stuck; calls wait until their deadline.",
		Remedy:  "If it stays like this, look into its log; then restart it.",
	})
	foreignServer = define(Definition{
		ID: "runtime.socket.foreign", Severity: finding.Error,
		Text:    "{object} is served by something that is no daemon of ours: {reason}",
		Meaning: "Another program took the address of varve-{name}.",
		Remedy:  "Stop that program, or give the daemon another --address.",
		Command: "ss -xlp src {object}",
	})
)

// patience bounds every question put to a daemon.
const patience = 3 * time.Second

// daemon is one of the suite's own, where it is served.
type daemon struct {
	name, address string
	// wanted means that pods cannot start without it.
	wanted bool
}

// root is the daemon's own folder, as `varve up` gives it.
func (n *node) root(d daemon) string { return filepath.Join(n.config.Root, d.name) }

// suite lists the daemons that this suite needs, and those beside them that
// have left a socket or a root here.
func (n *node) suite() []daemon {
	snapshotter := strings.TrimPrefix(n.config.SnapshotterName(), "varve-")
	list := []daemon{
		{snapshotter, n.config.SnapshotterSocket(), true},
		{"csi", n.config.CSISocket(), true},
	}
	for _, name := range []string{"overlay", "devmapper", "aufs", "netd"} {
		d := daemon{name, filepath.Join(n.config.State, name+".sock"), false}
		_, noSocket := os.Lstat(d.address)
		_, noRoot := os.Lstat(n.root(d))
		if name != snapshotter && (noSocket == nil || noRoot == nil) {
			list = append(list, d)
		}
	}
	return list
}

func (n *node) sockets(ctx context.Context) (finding.List, error) {
	var list, absent finding.List
	var errs []error
	present := 0
	for _, d := range n.suite() {
		info, err := os.Lstat(d.address)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if d.wanted {
				absent = append(absent, n.found(daemonDown, d.address, "name", d.name))
			}
		case err != nil:
			errs = append(errs, err)
		default:
			present++
			list = append(list, n.socket(ctx, d, info)...)
		}
	}
	if present == 0 && !n.hasPods() {
		n.down = true
		return append(list, n.found(suiteDown, "")), errors.Join(errs...)
	}
	return append(list, absent...), errors.Join(errs...)
}

func (n *node) socket(ctx context.Context, d daemon, info fs.FileInfo) finding.List {
	if info.Mode().Type() != fs.ModeSocket {
		kind := "file"
		if info.IsDir() {
			kind = "folder"
		}
		return finding.List{n.found(socketNotOurs, d.address, "name", d.name, "type", kind)}
	}
	var list finding.List
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || info.Mode().Perm()&0o077 != 0 {
		list = append(list, n.found(socketExposed, d.address,
			"owner", fmt.Sprint(st.Uid), "mode", fmt.Sprintf("%04o", info.Mode().Perm())))
	}
	dialer := net.Dialer{Timeout: patience}
	conn, err := dialer.DialContext(ctx, "unix", d.address)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return append(list, n.found(socketDead, d.address, "name", d.name))
	case err != nil:
		return append(list, n.found(daemonNotServing, d.address, "name", d.name, "reason", err.Error()))
	}
	_ = conn.Close()
	kind, err := health(ctx, d.address)
	n.serving[d.name], n.hung[d.name] = err == nil, err != nil
	if err != nil {
		list = append(list, n.found(kind, d.address, "name", d.name, "reason", err.Error()))
	}
	return list
}

// health asks who serves the socket whether it is in service; with an error
// comes the kind of finding that it is.
func health(ctx context.Context, address string) (Definition, error) {
	conn, err := dial(address)
	if err != nil {
		return daemonNotServing, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	switch {
	case err == nil && answer.Status == grpc_health_v1.HealthCheckResponse_SERVING:
		return Definition{}, nil
	case err == nil:
		return daemonNotServing, fmt.Errorf("its health is %s", answer.Status)
	case ctx.Err() != nil:
		return daemonNotServing, fmt.Errorf("no answer within %s", patience)
	case status.Code(err) == codes.Unavailable:
		return daemonNotServing, err // it came or went in this moment
	}
	return foreignServer, err
}

func dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
}
