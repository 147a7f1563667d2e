package devmapper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/test/bench/peer"
	"github.com/varve-project/varve/test/bench/proc"
)

// ServeBuiltin is the argument with which the benchmark's main starts itself
// as a server of the built-in driver; behind it ROOT, POOL and SOCKET.
const ServeBuiltin = "serve-builtin"

// BaseSize is that of every device on both sides. It is less than the shipped
// 10 GiB in favour of the built-in, which makes a file system for each
// snapshot without parent, with all of its tables written.
const BaseSize = "2GiB"

// builtinPool is the name of the peer's pool.
const builtinPool = "builtin"

// suite is everything that runs while the benchmark does. It all goes with the
// virtual machine; Close ends it in order all the same, for its errors.
type suite struct {
	options Options
	dir     string
	ctl     *dm.Control
	daemons []*proc.Daemon

	ours, builtin Contender
}

// start makes the pools and starts the daemons on them.
func start(ctx context.Context, o Options, out io.Writer) (*suite, error) {
	s := &suite{options: o, dir: "/run/bench"}
	var err error
	if s.ctl, err = dm.Open(); err != nil {
		return s, fmt.Errorf("%w; this is for the virtual machine", err)
	}
	if err := mountRoots(ctx, s.dir); err != nil {
		return s, err
	}
	if err := s.startOurs(ctx); err != nil {
		return s, err
	}
	fmt.Fprintln(out, "varve-devmapper serves")
	name, table, err := poolTable(s.ctl)
	if err != nil {
		return s, err
	}
	s.ours.Pool = name
	if err := s.startBuiltin(ctx, table); err != nil {
		return s, err
	}
	for _, c := range s.all() {
		took, err := timed(func() error { return makeBase(ctx, c) })
		if err != nil {
			return s, err
		}
		fmt.Fprintf(out, "base on %s: %.0f ms\n", c.Name, took)
	}
	return s, nil
}

func (s *suite) all() []Contender { return []Contender{s.ours, s.builtin} }

// startBuiltin serves the built-in driver from this very binary, on a pool
// with the same table as ours.
func (s *suite) startBuiltin(ctx context.Context, table dm.Target) error {
	if err := createEqual(s.ctl, builtinPool, table, builtinData, builtinMetadata); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	socket := filepath.Join(s.dir, "builtin.sock")
	// No udevd runs here. dmsetup would leave the nodes to it all the same,
	// unless told; that it need not wait for one is in its favour.
	err = s.daemon(ctx, "builtin", socket, "/usr/bin/env", "DM_DISABLE_UDEV=1",
		exe, ServeBuiltin, filepath.Join(s.dir, "builtin"), builtinPool, socket)
	if err != nil {
		return err
	}
	s.builtin, err = connect("builtin", peer.ContainerdVersion+" devmapper", builtinPool, socket)
	return err
}

// startOurs starts the daemon with its shipped configuration but for the size.
func (s *suite) startOurs(ctx context.Context) error {
	binary := filepath.Join(s.options.Bin, "varve-devmapper")
	config, root, socket := filepath.Join(s.dir, "ours.toml"), filepath.Join(s.dir, "ours"), filepath.Join(s.dir, "ours.sock")
	if err := createOurs(ctx, binary, config, root); err != nil {
		return err
	}
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	if strings.Contains(string(text), "base_size") {
		return errors.New("pool create wrote a base_size; the benchmark would name it twice")
	}
	text = append([]byte(fmt.Sprintf("base_size = %q\n", BaseSize)), text...)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return err
	}
	if err := s.daemon(ctx, "ours", socket, binary, "--config", config, "--root", root, "--address", socket); err != nil {
		return err
	}
	if s.ours, err = connect("ours", "", "", socket); err != nil {
		return err
	}
	// It listens before it has opened its pool; an answer comes after that.
	return s.ours.Walk(ctx, func(context.Context, snapshots.Info) error { return nil })
}

func (s *suite) daemon(ctx context.Context, name, socket string, args ...string) error {
	d, err := proc.Start(ctx, filepath.Join(s.dir, name+".log"), socket, args...)
	if err == nil {
		s.daemons = append(s.daemons, d)
	}
	return err
}

func connect(name, label, pool, socket string) (Contender, error) {
	conn, err := peer.Dial(socket)
	if err != nil {
		return Contender{}, err
	}
	return Contender{Name: name, Peer: label, Pool: pool, Snapshotter: proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), name)}, nil
}

// Close stops the daemons.
func (s *suite) Close() error {
	var err error
	for _, d := range s.daemons {
		err = errors.Join(err, d.Stop())
	}
	if s.ctl != nil {
		err = errors.Join(err, s.ctl.Close())
	}
	return err
}
