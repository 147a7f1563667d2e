package suite_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/varve-project/varve/runtime/config"
	"github.com/varve-project/varve/runtime/pod"
	"github.com/varve-project/varve/runtime/suite"
)

// TestMain is the tests, or the daemon that they start: this binary under the
// name of one.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "varve-good":
		serve(os.Args)
	case "varve-bad":
		fmt.Println("some line\nthe disk is on fire")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// serve is a daemon that is healthy until SIGTERM.
func serve(args []string) {
	address := args[slices.Index(args, "--address")+1]
	_ = os.Remove(address) // a killed one's
	listener, err := net.Listen("unix", address)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	if err := server.Serve(listener); err != nil {
		os.Exit(1)
	}
}

// daemon is one of that name, whose binary is in PATH.
func daemon(t *testing.T, name string) suite.Daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "suite") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "varve-"+name)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	d := suite.Daemon{
		Name: name, Root: filepath.Join(dir, "root"), Address: filepath.Join(dir, "sock"),
		PidFile: filepath.Join(dir, "run", "pid"), Log: filepath.Join(dir, "run", "log"),
	}
	t.Cleanup(func() { _, _ = d.Down(context.Background()) })
	return d
}

func up(t *testing.T, d suite.Daemon, want bool) {
	t.Helper()
	if started, err := d.Up(t.Context()); err != nil || started != want {
		t.Fatalf("Up: started %t, %v; want %t", started, err, want)
	}
}

func down(t *testing.T, d suite.Daemon, want bool) {
	t.Helper()
	if stopped, err := d.Down(t.Context()); err != nil || stopped != want {
		t.Fatalf("Down: stopped %t, %v; want %t", stopped, err, want)
	}
}

func listens(d suite.Daemon) bool {
	conn, err := net.DialTimeout("unix", d.Address, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

func TestUpAndDownMayBeRepeated(t *testing.T) {
	d := daemon(t, "good")
	down(t, d, false)
	up(t, d, true)
	up(t, d, false)
	if !listens(d) {
		t.Error("nobody listens after Up")
	}
	down(t, d, true)
	if listens(d) {
		t.Error("somebody listens after Down")
	}
	down(t, d, false)
	up(t, d, true)
}

// TestDownFindsADaemonWithoutPid: an Up that was killed has written none.
func TestDownFindsADaemonWithoutPid(t *testing.T) {
	d := daemon(t, "good")
	up(t, d, true)
	if err := os.Remove(d.PidFile); err != nil {
		t.Fatal(err)
	}
	up(t, d, false)
	down(t, d, true)
	if listens(d) {
		t.Error("somebody listens after Down")
	}
}

// TestAnothersDaemonStays: one that systemd started serves, and is not ours to
// stop.
func TestAnothersDaemonStays(t *testing.T) {
	d := daemon(t, "good")
	cmd := exec.Command(filepath.Join(filepath.Dir(d.Address), "varve-good"), "--address", d.Address)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 500 {
		if listens(d) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	up(t, d, false)
	down(t, d, false)
	if !listens(d) {
		t.Error("Down stopped a daemon that Up had not started")
	}
}

// TestAPidUsedAgain: the pid in the file is another process's by now, which
// must live on.
func TestAPidUsedAgain(t *testing.T) {
	d := daemon(t, "good")
	self, err := pod.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	self.StartTicks--
	for _, text := range []string{self.String(), "nonsense"} {
		if err := os.MkdirAll(filepath.Dir(d.PidFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d.PidFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		down(t, d, false)
	}
}

func TestUpSaysWhyADaemonDoesNotStart(t *testing.T) {
	d := daemon(t, "bad")
	if _, err := d.Up(t.Context()); err == nil || !strings.Contains(err.Error(), "the disk is on fire") || !strings.Contains(err.Error(), d.Log) {
		t.Errorf("Up: %v; want the last line of its log, and where that is", err)
	}
	if _, err := os.Stat(d.PidFile); err == nil {
		t.Error("the pid of what has ended is still there")
	}
	d.Name = "absent"
	if _, err := d.Up(t.Context()); err == nil || !strings.Contains(err.Error(), "varve-absent: it is neither beside varve nor in PATH") {
		t.Errorf("Up without a binary: %v", err)
	}
}

// TestDaemons: a socket of the configuration's own is somebody else's daemon.
func TestDaemons(t *testing.T) {
	c := config.Default()
	c.Root, c.State = "/r", "/s"
	steps := []struct {
		change func()
		want   string
	}{
		{func() {}, "overlay csi"},
		{func() { c.Snapshotter = "aufs" }, "aufs csi"},
		{func() { c.SnapshotterAddress = "/elsewhere.sock" }, "csi"},
		{func() { c.CSIAddress = "/there.sock" }, ""},
	}
	for _, s := range steps {
		s.change()
		var names []string
		for _, d := range suite.Daemons(c) {
			names = append(names, d.Name)
			if d.Root != "/r/"+d.Name || d.Address != "/s/"+d.Name+".sock" {
				t.Errorf("%s has root %s and address %s", d.Name, d.Root, d.Address)
			}
		}
		if got := strings.Join(names, " "); got != s.want {
			t.Errorf("daemons %q, want %q", got, s.want)
		}
	}
}
