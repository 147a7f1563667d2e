package service_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// handOver starts the daemon as systemd does: the listening sockets are file
// descriptors from 3 on, and LISTEN_PID is the daemon's own process id.
func handOver(t *testing.T, dir string, fds string, files ...*os.File) *process {
	t.Helper()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=`+fds+` exec "$@"`, "sh", os.Args[0],
		"--root", filepath.Join(dir, "root"), "--address", filepath.Join(dir, "ignored.sock"))
	cmd.Env = command().Env
	cmd.ExtraFiles = files
	return launchCommand(t, dir, cmd)
}

func listener(t *testing.T, path string) *os.File {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = l.Close(), f.Close() })
	return f
}

func TestSocketActivation(t *testing.T) {
	dir := folder(t)
	handed := listener(t, filepath.Join(dir, "s.sock"))
	for range 2 {
		p := handOver(t, dir, "1", handed).ready()
		mustExist(t, filepath.Join(dir, "ignored.sock"), false)
		if code := p.signal(syscall.SIGTERM).wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		// systemd's socket stays for the next start.
		mustExist(t, p.address, true)
	}
}

func TestSocketActivationWithTwoSocketsIsRefused(t *testing.T) {
	dir := folder(t)
	p := handOver(t, dir, "2", listener(t, filepath.Join(dir, "a.sock")), listener(t, filepath.Join(dir, "b.sock")))
	if code := p.wait(); code != 1 || !strings.Contains(p.out.String(), "2 sockets") {
		t.Errorf("exit %d: %s", code, p.out.String())
	}
}

func TestNotifyAndWatchdog(t *testing.T) {
	dir := folder(t)
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	cmd := command("--root", filepath.Join(dir, "root"), "--address", filepath.Join(dir, "s.sock"))
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=100000")
	p := launchCommand(t, dir, cmd)

	expect := func(want string) {
		t.Helper()
		buf := make([]byte, 256)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		for {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("no %s: %v", want, err)
			}
			if string(buf[:n]) == want {
				return
			}
		}
	}
	expect("READY=1")
	p.ready()
	expect("WATCHDOG=1")
	expect("WATCHDOG=1")
	p.signal(syscall.SIGTERM)
	expect("STOPPING=1")
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
