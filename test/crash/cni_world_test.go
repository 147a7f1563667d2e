package crash_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netns"

	"github.com/varve-project/varve/test/built"
	"github.com/varve-project/varve/test/crash"
	"github.com/varve-project/varve/test/leak"
)

// cniWorld is a host with a network of its own, on which varve-cni is run as a
// runtime runs it: one process a call.
type cniWorld struct {
	dir, bin string
	env      []string
	last     *os.ProcessState
	log      bytes.Buffer
	// ips are the addresses that ADD answered with, by container.
	ips map[string][]netip.Addr
}

const (
	gateway4 = "10.77.0.1"
	// room is how many addresses the range of each family has for pods.
	room = 5
)

func newCNI(t testing.TB) *cniWorld {
	dir, err := os.MkdirTemp("/run", "crash")
	if err != nil {
		t.Fatal(err)
	}
	w := &cniWorld{dir: dir, bin: built.Failpoint(t, "varve-cni"), ips: map[string][]netip.Addr{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("varve-cni said:\n%s", w.log.String())
		}
		for _, path := range w.pins() {
			_ = exec.Command("umount", "-l", path).Run()
		}
		_ = os.RemoveAll(dir)
	})
	if err := w.pin("host"); err != nil {
		t.Fatal(err)
	}
	return w
}

// pin makes a network namespace with loopback up.
func (w *cniWorld) pin(name string) error {
	path := w.netns(name)
	script := fmt.Sprintf("mkdir -p %s && touch %s && unshare -n sh -c 'ip link set lo up && mount --bind /proc/self/ns/net %s'",
		filepath.Dir(path), path, path)
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", script, err, out)
	}
	return nil
}

func (w *cniWorld) netns(name string) string { return filepath.Join(w.dir, "netns", name) }

func (w *cniWorld) pins() []string {
	all, _ := filepath.Glob(w.netns("*"))
	return all
}

func (w *cniWorld) data() string { return filepath.Join(w.dir, "data") }

// Start and Stop only set what the next processes get: there is no daemon.
func (w *cniWorld) Start(env ...string) error {
	w.env = env
	return nil
}

func (w *cniWorld) Stop() error { return nil }

func (w *cniWorld) WaitKilled() error {
	if status, ok := w.last.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		return fmt.Errorf("the plug-in ended by %s, want SIGKILL: the point was not reached a second time", w.last)
	}
	return nil
}

// Reconcile has nothing to do: what a killed call left goes with the call that
// the runtime makes next.
func (w *cniWorld) Reconcile() error { return nil }

func (w *cniWorld) Disk() ([]string, error) {
	all, err := crash.Tree(w.data())
	// Tombstones are kept for a while by design, and locks go with them.
	return slices.DeleteFunc(all, func(path string) bool { return strings.Contains(path, "/gone/") }), err
}

// Keeps: the bridge and the table stay, for the next pod.
func (w *cniWorld) Keeps() {}

func (w *cniWorld) Kernel() (snapshot leak.Snapshot, err error) {
	err = inside(w.netns("host"), func() (err error) {
		snapshot, err = leak.Take(leak.Scope{Paths: []string{w.dir}, OwnNetwork: true})
		return err
	})
	return snapshot, err
}

// inside runs do in a network namespace.
func inside(path string, do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	if err != nil {
		return err
	}
	defer func() { _ = own.Close() }()
	other, err := netns.GetFromPath(path)
	if err != nil {
		return err
	}
	defer func() { _ = other.Close() }()
	if err := netns.Set(other); err != nil {
		return err
	}
	return errors.Join(do(), netns.Set(own))
}

func (w *cniWorld) conf(container string) string {
	ports := ""
	if container == "new" {
		ports = `"runtimeConfig": {
    "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
    "bandwidth": {"ingressRate": 800000000, "ingressBurst": 800000000, "egressRate": 800000000, "egressBurst": 800000000}
  },`
	}
	return fmt.Sprintf(`{
  "cniVersion": "1.1.0", "name": "crash", "type": "varve-cni", %s
  "bridge": "crash0", "isDefaultGateway": true, "ipMasq": true,
  "ipam": {
    "dataDir": %q, "restSeconds": 0,
    "ranges": [[{"subnet": "10.77.0.0/29"}], [{"subnet": "fd77::/64", "rangeStart": "fd77::2", "rangeEnd": "fd77::6"}]]
  }
}`, ports, w.data())
}

// invoke runs the plug-in once, in the host's namespace.
func (w *cniWorld) invoke(command, container, stdin string) ([]byte, error) {
	cmd := exec.Command("nsenter", "--net="+w.netns("host"), w.bin)
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+command, "CNI_PATH=/nonexistent")
	if container != "" {
		cmd.Env = append(cmd.Env, "CNI_CONTAINERID="+container, "CNI_IFNAME=eth0", "CNI_NETNS="+w.netns(container))
	}
	cmd.Env = append(cmd.Env, w.env...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stderr = &w.log
	out, err := cmd.Output()
	w.last = cmd.ProcessState
	if err != nil {
		err = fmt.Errorf("CNI %s %s: %w: %s", command, container, err, out)
	}
	return out, err
}

// dismantle takes the idle network away, as an operator does.
func (w *cniWorld) dismantle() error {
	path := filepath.Join(w.dir, "conf")
	list := strings.Replace(w.conf("other"), `"type"`, `"plugins": [{"type"`, 1)
	if err := os.WriteFile(path, []byte(list+"]}"), 0o600); err != nil {
		return err
	}
	cmd := exec.Command("nsenter", "--net="+w.netns("host"), w.bin, "dismantle", "--conf", path)
	cmd.Env = append(os.Environ(), w.env...)
	out, err := cmd.CombinedOutput()
	w.last = cmd.ProcessState
	if err != nil {
		err = fmt.Errorf("varve-cni dismantle: %w: %s", err, out)
	}
	return err
}

// hasBridge tells whether the network's bridge is there.
func (w *cniWorld) hasBridge() bool {
	return exec.Command("nsenter", "--net="+w.netns("host"), "ip", "link", "show", "crash0").Run() == nil
}

func (w *cniWorld) add(container string) error {
	if _, err := os.Stat(w.netns(container)); err != nil {
		if err := w.pin(container); err != nil {
			return err
		}
	}
	out, err := w.invoke("ADD", container, w.conf(container))
	if err != nil {
		return err
	}
	var res current.Result
	if err := json.Unmarshal(out, &res); err != nil {
		return fmt.Errorf("CNI ADD %s: %w: %s", container, err, out)
	}
	w.ips[container] = nil
	for _, ip := range res.IPs {
		addr, _ := netip.AddrFromSlice(ip.Address.IP)
		w.ips[container] = append(w.ips[container], addr.Unmap())
	}
	if len(res.IPs) != 2 {
		err = fmt.Errorf("CNI ADD %s: addresses %v, want one of each family", container, res.IPs)
	}
	return err
}

func (w *cniWorld) del(container string) error {
	_, err := w.invoke("DEL", container, w.conf(container))
	if err == nil {
		delete(w.ips, container)
	}
	return err
}

// attached checks that container has its addresses, shared with nobody, and
// that it and the host reach each other.
func (w *cniWorld) attached(container string) error {
	for other, ips := range w.ips {
		for _, ip := range ips {
			if other != container && slices.Contains(w.ips[container], ip) {
				return fmt.Errorf("%s and %s both have %s", container, other, ip)
			}
		}
	}
	for _, ip := range w.ips[container] {
		if err := w.talk(w.netns(container), net.JoinHostPort(ip.String(), "80"), w.netns("host"), net.JoinHostPort(ip.String(), "80")); err != nil {
			return fmt.Errorf("%s at %s: %w", container, ip, err)
		}
	}
	return nil
}

// talk listens in one namespace and connects from another.
func (w *cniWorld) talk(server, listen, client, connect string) error {
	var listener net.Listener
	err := inside(server, func() (err error) {
		listener, err = net.Listen("tcp", listen)
		return err
	})
	if err != nil {
		return err
	}
	defer listener.Close()
	return inside(client, func() error {
		conn, err := net.DialTimeout("tcp", connect, 2*time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Empty detaches everything, and then shows that every address can be had
// again: none leaked.
func (w *cniWorld) Empty() error {
	var errs []error
	for _, path := range w.pins() {
		if name := filepath.Base(path); name != "host" {
			errs = append(errs, w.del(name))
		}
	}
	leases, err := filepath.Glob(filepath.Join(w.data(), "*", "leases", "*"))
	if len(leases) > 0 {
		err = fmt.Errorf("leases left: %q", leases)
	}
	errs = append(errs, err)
	var filled []string
	for i := range room {
		name := fmt.Sprintf("fill%d", i)
		filled = append(filled, name)
		if err := w.add(name); err != nil {
			errs = append(errs, fmt.Errorf("address %d of %d: %w", i+1, room, err))
			break
		}
	}
	for _, name := range filled {
		errs = append(errs, w.del(name))
	}
	for _, path := range w.pins() {
		if filepath.Base(path) == "host" {
			continue
		}
		if out, err := exec.Command("umount", path).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("umount %s: %w: %s", path, err, out))
		}
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}
