package doctor_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/varve-project/varve/runtime/config"
)

// listen makes a socket as the daemons do.
func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return l
}

// serve runs a gRPC server with a health service on path.
func serve(t *testing.T, path string, state grpc_health_v1.HealthCheckResponse_ServingStatus, register func(*grpc.Server)) {
	t.Helper()
	server := grpc.NewServer()
	health := grpchealth.NewServer()
	health.SetServingStatus("", state)
	grpc_health_v1.RegisterHealthServer(server, health)
	if register != nil {
		register(server)
	}
	l := listen(t, path)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
}

const (
	serving    = grpc_health_v1.HealthCheckResponse_SERVING
	notServing = grpc_health_v1.HealthCheckResponse_NOT_SERVING
)

func TestSuiteDown(t *testing.T) {
	c := suite(t)
	want(t, c, "runtime.suite.down", "")
	absent(t, c, "runtime.daemon.down", "")
}

func TestDaemonDown(t *testing.T) {
	c := suite(t)
	serve(t, c.CSISocket(), serving, nil)
	want(t, c, "runtime.daemon.down", c.SnapshotterSocket())
	absent(t, c, "runtime.daemon.down", c.CSISocket())
	absent(t, c, "runtime.suite.down", "")
}

// A killed daemon leaves its socket file.
func TestSocketDead(t *testing.T) {
	c := suite(t)
	l := listen(t, c.CSISocket())
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	want(t, c, "runtime.socket.dead", c.CSISocket())
}

func TestSocketIsAFile(t *testing.T) {
	c := suite(t)
	if err := os.WriteFile(c.CSISocket(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mend(t, c, want(t, c, "runtime.socket.not-a-socket", c.CSISocket()))
}

func TestSocketExposed(t *testing.T) {
	c := suite(t)
	serve(t, c.CSISocket(), serving, nil)
	absent(t, c, "runtime.socket.exposed", "")
	if err := os.Chmod(c.CSISocket(), 0o666); err != nil {
		t.Fatal(err)
	}
	mend(t, c, want(t, c, "runtime.socket.exposed", c.CSISocket()))
	if err := os.Chown(c.CSISocket(), 65534, 0); err != nil {
		t.Fatal(err)
	}
	mend(t, c, want(t, c, "runtime.socket.exposed", c.CSISocket()))
}

func TestDaemonNotServing(t *testing.T) {
	c := suite(t)
	serve(t, c.CSISocket(), notServing, nil)
	listen(t, c.SnapshotterSocket()) // takes calls and never answers: stopped
	list := run(t, c)
	wantIn(t, list, "runtime.daemon.not-serving", c.CSISocket())
	wantIn(t, list, "runtime.daemon.not-serving", c.SnapshotterSocket())
}

func TestSocketForeign(t *testing.T) {
	c := suite(t)
	l := listen(t, c.CSISocket())
	server := grpc.NewServer()
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	want(t, c, "runtime.socket.foreign", c.CSISocket())
}

// identity is a CSI driver of which only the identity is asked.
type identity struct {
	csi.UnimplementedIdentityServer
	name  string
	ready *wrapperspb.BoolValue
	err   error
}

func (i identity) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: i.name}, nil
}

func (i identity) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: i.ready}, i.err
}

func withDriver(t *testing.T, i identity) config.Config {
	t.Helper()
	c := suite(t)
	serve(t, c.CSISocket(), serving, func(s *grpc.Server) { csi.RegisterIdentityServer(s, i) })
	return c
}

func TestCSI(t *testing.T) {
	sound := withDriver(t, identity{name: "csi.varve.dev"})
	absent(t, sound, "csi.identity.foreign", "")
	absent(t, sound, "csi.probe.failed", "")

	foreign := withDriver(t, identity{name: "hostpath.csi.k8s.io"})
	want(t, foreign, "csi.identity.foreign", foreign.CSISocket())
	unready := withDriver(t, identity{name: "csi.varve.dev", ready: wrapperspb.Bool(false)})
	want(t, unready, "csi.probe.failed", unready.CSISocket())
	failing := withDriver(t, identity{name: "csi.varve.dev", err: status.Error(codes.FailedPrecondition, "no file system")})
	want(t, failing, "csi.probe.failed", failing.CSISocket())
}

func TestCSIUnregistered(t *testing.T) {
	c := suite(t)
	const dir = "/var/lib/kubelet/plugins_registry"
	if _, err := os.Stat("/var/lib/kubelet"); err == nil {
		mustRun(t, "mount -t tmpfs tmpfs /var/lib/kubelet")
		t.Cleanup(func() { mustRun(t, "umount /var/lib/kubelet") })
	} else {
		mustRun(t, "mount -t tmpfs tmpfs /var/lib && mkdir -p "+dir)
		t.Cleanup(func() { mustRun(t, "umount /var/lib") })
	}
	mustRun(t, "mkdir -p "+dir)
	absent(t, c, "csi.kubelet.unregistered", "")
	listen(t, filepath.Join(dir, "other.example-reg.sock"))
	want(t, c, "csi.kubelet.unregistered", dir)
	listen(t, filepath.Join(dir, "csi.varve.dev-reg.sock"))
	absent(t, c, "csi.kubelet.unregistered", "")
}
