package csi_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/varve-project/varve/internal/loop"
	"github.com/varve-project/varve/test/built"
	"github.com/varve-project/varve/test/leak"
)

// driver is one varve-csi with a root of its own. It can be stopped, killed
// and started again over what it left.
type driver struct {
	t      *testing.T
	binary string
	// dir holds everything of the test; root, pool and socket are in it.
	dir  string
	args []string

	cmd  *exec.Cmd
	log  *os.File
	conn *grpc.ClientConn
	csi.IdentityClient
	csi.ControllerClient
	csi.NodeClient
}

// newDriver prepares a driver that is not running yet. When the test ends it
// must have left nothing in the kernel.
func newDriver(t *testing.T, binary string, args ...string) *driver {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "csi-e2e-") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sweep(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	leak.Check(t, leak.Scope{Paths: []string{dir}})
	d := &driver{t: t, binary: binary, dir: dir, args: args}
	t.Cleanup(func() {
		d.stop()
		unmountMemory(dir)
	})
	return d
}

// start starts a driver that is built as it ships.
func start(t *testing.T, args ...string) *driver {
	t.Helper()
	d := newDriver(t, built.Path(t, "varve-csi"), args...)
	d.start()
	return d
}

// sweep removes what a failed test left, so that the next one starts clean:
// the volumes' mounts and devices first, since the store cannot go before them.
func sweep(t *testing.T, dir string) {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		t.Error(err)
	}
	inside := func(path string) bool {
		return strings.HasPrefix(path, dir+"/pods/") || strings.HasPrefix(path, dir+"/staging/")
	}
	unmount := func(which func(string) bool) {
		for _, i := range slices.Backward(infos) {
			if which(i.Mountpoint) {
				_ = syscall.Unmount(i.Mountpoint, syscall.MNT_DETACH)
			}
		}
	}
	release := func(which func(loop.Device) bool) {
		devices, err := loop.List()
		if err != nil {
			t.Error(err)
		}
		for _, l := range devices {
			if strings.HasPrefix(l.Backing, dir+"/") && which(l) {
				_ = loop.Detach(context.Background(), l)
			}
		}
	}
	unmount(inside)
	release(func(l loop.Device) bool { return filepath.Base(l.Backing) == "image" })
	unmount(func(path string) bool { return path != dir }) // a tmpfs there gives the store its path
	release(func(loop.Device) bool { return true })
	unmount(func(string) bool { return true })
}

func (d *driver) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

func (d *driver) socket() string { return d.path("csi.sock") }

// start runs the daemon, with more environment if wanted, until it answers.
func (d *driver) start(env ...string) {
	d.t.Helper()
	if err := d.tryStart(env...); err != nil {
		d.t.Fatalf("start: %v\n%s", err, d.logged())
	}
}

func (d *driver) tryStart(env ...string) error {
	log, err := os.OpenFile(d.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	args := append([]string{
		"--config", os.DevNull, "--root", d.path("root"), "--address", d.socket(),
		"--node-id", "node-under-test", "--log-level", "warn",
	}, d.args...)
	d.cmd = exec.Command(d.binary, args...)
	d.cmd.Env = append(os.Environ(), env...)
	d.cmd.Stdout, d.cmd.Stderr, d.log = log, log, log
	if err := d.cmd.Start(); err != nil {
		return err
	}
	// gRPC's own pause after a refused connection is a second long.
	patience := grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1.2, MaxDelay: 50 * time.Millisecond}}
	if d.conn, err = grpc.NewClient("unix:"+d.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(patience)); err != nil {
		return err
	}
	d.IdentityClient = csi.NewIdentityClient(d.conn)
	d.ControllerClient = csi.NewControllerClient(d.conn)
	d.NodeClient = csi.NewNodeClient(d.conn)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	exited := make(chan error, 1)
	go func() { exited <- d.cmd.Wait() }()
	for {
		if _, err = d.Probe(ctx, &csi.ProbeRequest{}); err == nil {
			return nil
		}
		select {
		case state := <-exited:
			return errors.Join(errors.New("the daemon ended"), state, err)
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (d *driver) logged() string {
	text, _ := os.ReadFile(d.path("log"))
	return string(text)
}

// stop ends the daemon as systemd would, and is no error when none runs.
func (d *driver) stop() { d.end(syscall.SIGTERM) }

func (d *driver) kill() { d.end(syscall.SIGKILL) }

func (d *driver) end(signal syscall.Signal) {
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Signal(signal)
	d.ended()
}

// ended waits for a daemon that has been told to end, or was killed by a
// failpoint.
func (d *driver) ended() {
	d.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for syscall.Kill(d.cmd.Process.Pid, 0) == nil {
		if time.Now().After(deadline) {
			d.t.Fatalf("the daemon does not end\n%s", d.logged())
		}
		time.Sleep(time.Millisecond)
	}
	_ = d.conn.Close()
	_ = d.log.Close()
	d.cmd = nil
}

// newDriverWithConfig starts a driver with a configuration file.
func newDriverWithConfig(t *testing.T, text string) *driver {
	t.Helper()
	d := newDriver(t, built.Path(t, "varve-csi"))
	if err := os.WriteFile(d.path("csi.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d.args = []string{"--config", d.path("csi.toml")}
	d.start()
	return d
}

// unmountMemory undoes inMemory. Whoever walks /proc or the loop devices beside
// us, such as the driver of another test, holds what it looks at for a moment;
// what holds it for longer is for the leak check to report.
func unmountMemory(dir string) {
	for range 100 {
		if err := syscall.Unmount(dir, 0); !errors.Is(err, syscall.EBUSY) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// inMemory puts everything of the driver on a tmpfs: killing processes says
// nothing about disks, and waiting for them takes most of the time.
func (d *driver) inMemory() {
	d.t.Helper()
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, ""); err != nil {
		d.t.Fatal(err)
	}
}
