package attach_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func linkUp(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// namespace is a pod's network namespace, pinned to a file.
type namespace struct {
	t    *testing.T
	path string
}

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	n := &namespace{t, filepath.Join(t.TempDir(), "netns")}
	if err := os.WriteFile(n.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", n.path, "", unix.MS_BIND, "")
		}
		if err == nil {
			err = linkUp("lo")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.drop)
	return n
}

// drop ends the namespace, unless something else still has it.
func (n *namespace) drop() { _ = unix.Unmount(n.path, unix.MNT_DETACH) }

// do runs f inside. A nil namespace is the host's.
func (n *namespace) do(f func() error) error {
	if n == nil {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		fd, err := unix.Open(n.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			_ = unix.Close(fd)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// serve answers every connection or datagram on a port of the namespace with
// the name and the address of who asked.
func (n *namespace) serve(t *testing.T, network string, port int, name string) {
	t.Helper()
	at := fmt.Sprintf("[::]:%d", port)
	err := n.do(func() error {
		if network == "udp" {
			c, err := net.ListenPacket("udp", at)
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = c.Close() })
			go serveUDP(c, name)
			return nil
		}
		l, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		go serveTCP(l, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func serveTCP(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(c, "%s %s", name, host(c.RemoteAddr()))
		_ = c.Close()
	}
}

func serveUDP(c net.PacketConn, name string) {
	b := make([]byte, 100)
	for {
		_, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = c.WriteTo([]byte(name+" "+host(from)), from)
	}
}

func host(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	return ap.Addr().Unmap().String()
}

// ask returns the server's answer, or an error within two seconds.
func (n *namespace) ask(network, to string) (answer string, err error) {
	err = n.do(func() error {
		c, err := net.DialTimeout(network, to, 2*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		if network == "udp" {
			b := make([]byte, 100)
			if _, err := c.Write([]byte("?")); err != nil {
				return err
			}
			k, err := c.Read(b)
			answer = string(b[:k])
			return err
		}
		b, err := io.ReadAll(c)
		answer = string(b)
		return err
	})
	return answer, err
}

// wantAnswer asks and compares with "NAME FROM"; an empty FROM is any.
func (n *namespace) wantAnswer(t *testing.T, network, to, name, from string) {
	t.Helper()
	got, err := n.ask(network, to)
	if err != nil {
		t.Errorf("%s %s: %v", network, to, err)
		return
	}
	if gotName, gotFrom, _ := strings.Cut(got, " "); gotName != name || from != "" && gotFrom != from {
		t.Errorf("%s %s: answer %q, want %q from %q", network, to, got, name, from)
	}
}

// outside is a machine beyond the host: a namespace joined to it by a link of
// its own, with addresses of documentation ranges, and no route to the pods.
func outside(t *testing.T) *namespace {
	t.Helper()
	n := newNamespace(t)
	fd, err := unix.Open(n.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "uplink"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(fd)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if l, err := netlink.LinkByName("uplink"); err == nil {
			_ = netlink.LinkDel(l)
		}
	})
	must(t, addresses("uplink", "192.0.2.1/24", "2001:db8::1/64"))
	must(t, n.do(func() error { return addresses("eth0", "192.0.2.2/24", "2001:db8::2/64") }))
	return n
}

func addresses(link string, list ...string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	for _, text := range list {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// parallel runs f n times at once and waits.
func parallel(n int, f func(int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// askAgain sends on an open flow until somebody answers.
func askAgain(c net.Conn) string {
	b := make([]byte, 100)
	for range 10 {
		_, _ = c.Write([]byte("?"))
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if k, err := c.Read(b); err == nil {
			return string(b[:k])
		}
	}
	return ""
}

func writeSysctl(name, value string) error {
	return os.WriteFile("/proc/sys/"+name, []byte(value), 0)
}
