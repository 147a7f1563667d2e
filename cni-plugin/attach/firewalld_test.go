package attach_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth><policy context="default">
<allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
</policy></busconfig>`

// firewalld starts the distribution's firewalld in the tests' network
// namespace, on a bus and with a /run of its own.
func firewalld(t *testing.T) (show func() string) {
	t.Helper()
	runtime.LockOSThread() // whose end would end what it started
	t.Cleanup(runtime.UnlockOSThread)
	dir, err := os.MkdirTemp("", "bus")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket, conf := filepath.Join(dir, "socket"), filepath.Join(dir, "conf")
	must(t, os.WriteFile(conf, []byte(strings.Replace(busConfig, "SOCKET", socket, 1)), 0o600))
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+socket)
	start := func(name string, args ...string) {
		cmd := exec.Command(name, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatalf("%s: %v; install the packages of test/packages.txt", name, err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		})
	}
	start("dbus-daemon", "--config-file="+conf, "--nofork", "--nopidfile")
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "inet", "firewalld").Run() })
	start("unshare", "-m", "sh", "-c", "mount -t tmpfs none /run && mount -t tmpfs none /var/log && exec firewalld --nofork --nopid")
	deadline := time.Now().Add(time.Minute)
	for exec.Command("firewall-cmd", "--state").Run() != nil {
		if time.Now().After(deadline) {
			t.Fatal("firewalld does not start")
		}
		time.Sleep(100 * time.Millisecond)
	}
	return func() string { return run(t, "firewall-cmd --zone=trusted --list-sources") }
}

// firewalld rewrites its table at every reload, so it is asked over D-Bus: the
// subnets become sources of its zone trusted, and stop being so with the
// network.
func TestPassesFirewalld(t *testing.T) {
	n := newNetwork(t, nil)
	out := outside(t)
	show := firewalld(t)
	p := n.pod("p", ports(`{"hostPort":8080,"containerPort":80}`, `{"hostPort":5353,"containerPort":53,"protocol":"udp"}`))
	wantThroughWall(t, n, out, p)
	if got := strings.Fields(show()); len(got) != 2 {
		t.Errorf("sources of the zone trusted: %v", got)
	}
	run(t, "firewall-cmd --reload")
	if got := strings.TrimSpace(show()); got != "" {
		t.Fatalf("a reload keeps %s: this test tests less than it says", got)
	}
	second := n.pod("second", nil)
	p.ns.wantAnswer(t, "tcp", "192.0.2.2:99", "out", "192.0.2.1")
	must(t, second.del())
	must(t, p.del())
	n.dismantle()
	if got := strings.TrimSpace(show()); got != "" {
		t.Errorf("after dismantle the zone trusted has %s", got)
	}
}
