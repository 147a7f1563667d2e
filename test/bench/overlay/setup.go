package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/core/diff"
	diffproxy "github.com/containerd/containerd/v2/core/diff/proxy"
	introspectionproxy "github.com/containerd/containerd/v2/core/introspection/proxy"
	"github.com/containerd/containerd/v2/core/leases"
	leasesproxy "github.com/containerd/containerd/v2/core/leases/proxy"
	"github.com/containerd/containerd/v2/core/snapshots"
	snapshotsproxy "github.com/containerd/containerd/v2/core/snapshots/proxy"

	"github.com/varve-project/varve/test/bench/peer"
	"github.com/varve-project/varve/test/bench/proc"
)

// The names under which containerd knows the contenders.
const (
	oursName    = "varve-overlay"
	builtinName = "overlayfs"
	socketName  = "overlayfs-socket"
)

// suite is everything that runs while the benchmark does.
type suite struct {
	options    Options
	containerd *peer.Containerd
	daemons    []*proc.Daemon
	leases     leases.Manager

	// viaContainerd are ours, the built-in, and the built-in behind a socket,
	// as plug-ins of one containerd; direct are ours and the built-in, each
	// behind a socket of its own.
	viaContainerd, direct []Contender
}

// start starts both snapshotters and containerd. Close the suite in any case.
func start(ctx context.Context, o Options) (*suite, error) {
	s := &suite{options: o}
	run := "/run/bench" // the node's own, and short: a socket's path has 108 bytes
	if err := os.MkdirAll(run, 0o755); err != nil {
		return s, err
	}
	ours, builtin := filepath.Join(run, "ours.sock"), filepath.Join(run, "builtin.sock")
	stanza, err := s.startOurs(ctx, ours)
	if err != nil {
		return s, err
	}
	if err := s.startBuiltin(ctx, "builtin", builtin); err != nil {
		return s, err
	}
	s.containerd, err = peer.StartContainerd(ctx, filepath.Join(o.Bin, "peers", "containerd"),
		filepath.Join(o.Dir, "containerd"), filepath.Join(run, "containerd"),
		[]string{stanza, peer.Proxy(socketName, builtin, builtinCapabilities...)})
	if err != nil {
		return s, err
	}
	s.leases = leasesproxy.NewLeaseManager(leasesapi.NewLeasesClient(s.containerd.Conn))
	s.viaContainerd = []Contender{
		s.plugin(oursName, ""), s.plugin(builtinName, peer.ContainerdVersion+" overlayfs"),
		s.plugin(socketName, peer.ContainerdVersion+" overlayfs behind a socket"),
	}
	return s, s.connectDirect(ours, builtin)
}

// builtinCapabilities are what the built-in plug-in advertises on a kernel with
// idmapped mounts.
var builtinCapabilities = []string{snapshots.RebaseCap, "remap-ids"}

// startOurs returns the entry for containerd's configuration.
func (s *suite) startOurs(ctx context.Context, socket string) (string, error) {
	if s.options.SelfCheck {
		return peer.Proxy(oursName, socket, builtinCapabilities...), s.startBuiltin(ctx, "ours", socket)
	}
	binary := filepath.Join(s.options.Bin, "varve-overlay")
	if _, err := exec.LookPath(binary); err != nil {
		return "", fmt.Errorf("%w; build it with make build", err)
	}
	flags := []string{"--root", filepath.Join(s.options.Dir, "ours"), "--address", socket}
	if err := s.startDaemon(ctx, "ours", socket, append([]string{binary}, flags...)...); err != nil {
		return "", err
	}
	stanza, err := exec.CommandContext(ctx, binary, append([]string{"stanza"}, flags...)...).Output()
	if err != nil {
		return "", fmt.Errorf("varve-overlay stanza: %w", err)
	}
	return string(stanza), nil
}

// startBuiltin serves the built-in driver from this very binary.
func (s *suite) startBuiltin(ctx context.Context, name, socket string) error {
	return s.startDaemon(ctx, name, socket, "/proc/self/exe", ServeBuiltin, filepath.Join(s.options.Dir, name), socket)
}

// ServeBuiltin is the argument with which the benchmark's main starts itself
// as a server of the built-in driver.
const ServeBuiltin = "serve-builtin"

func (s *suite) startDaemon(ctx context.Context, name, socket string, args ...string) error {
	d, err := proc.Start(ctx, filepath.Join(s.options.Dir, name+".log"), socket, args...)
	if err == nil {
		s.daemons = append(s.daemons, d)
	}
	return err
}

// plugin is a contender asked through containerd, which puts a driver's Remove
// off until it collects garbage.
func (s *suite) plugin(name, label string) Contender {
	client := snapshotsapi.NewSnapshotsClient(s.containerd.Conn)
	return Contender{
		Name: name, Peer: label, Sync: name != oursName || s.options.SelfCheck,
		Snapshotter: snapshotsproxy.NewSnapshotter(client, name),
		settle:      s.collect,
	}
}

// collect runs containerd's garbage collection and waits for it.
func (s *suite) collect(ctx context.Context) error {
	lease, err := s.leases.Create(ctx, leases.WithRandomID())
	if err != nil {
		return fmt.Errorf("create a lease: %w", err)
	}
	return s.leases.Delete(ctx, lease, leases.SynchronousDelete)
}

func (s *suite) connectDirect(ours, builtin string) error {
	for _, c := range []Contender{
		{Name: oursName, Sync: s.options.SelfCheck},
		{Name: builtinName, Peer: peer.ContainerdVersion + " overlayfs, both straight over a socket", Sync: true},
	} {
		socket := builtin
		if c.Name == oursName {
			socket = ours
		}
		conn, err := peer.Dial(socket)
		if err != nil {
			return err
		}
		c.Snapshotter = snapshotsproxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), c.Name)
		c.settle = c.Snapshotter.(snapshots.Cleaner).Cleanup
		s.direct = append(s.direct, c)
	}
	return nil
}

// unpacker makes the image and what unpacks it.
func (s *suite) unpacker(ctx context.Context) (unpacker, error) {
	u := unpacker{
		store:   contentproxy.NewContentStore(s.containerd.Conn),
		applier: diffproxy.NewDiffApplier(diffapi.NewDiffClient(s.containerd.Conn)).(diff.Applier),
		leases:  s.leases,
	}
	var err error
	u.manifest, err = makeImage(ctx, u.store, imageLayers, s.options.scale(imageFiles), s.options.scale(imageBytes))
	return u, err
}

// capabilities asks containerd what a plug-in advertises.
func (s *suite) capabilities(ctx context.Context, name string) ([]string, error) {
	client := introspectionproxy.NewIntrospectionProxy(introspectionapi.NewIntrospectionClient(s.containerd.Conn))
	plugins, err := client.Plugins(ctx, "type==io.containerd.snapshotter.v1,id=="+name)
	if err != nil {
		return nil, fmt.Errorf("ask containerd for %s: %w", name, err)
	}
	if len(plugins.Plugins) != 1 || plugins.Plugins[0].InitErr != nil {
		return nil, fmt.Errorf("containerd has no working snapshotter %s: %v", name, plugins.Plugins)
	}
	return plugins.Plugins[0].Capabilities, nil
}

// Close stops everything and removes the data.
func (s *suite) Close() error {
	var err error
	if s.containerd != nil {
		err = s.containerd.Stop()
	}
	for _, d := range slices.Backward(s.daemons) {
		err = errors.Join(err, d.Stop())
	}
	return errors.Join(err, os.RemoveAll(s.options.Dir))
}
