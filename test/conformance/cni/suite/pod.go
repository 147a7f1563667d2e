package suite

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Pod is a container as a CNI runtime knows it: an id and a pinned network
// namespace.
type Pod struct {
	ID    string
	NetNS string
	// results are what ADD answered, by interface.
	results results
}

// results are used by several goroutines at once, each on an interface or
// a pod of its own.
type results struct {
	mu  sync.Mutex
	all map[string]json.RawMessage
}

func (r *results) put(ifname string, result []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[string]json.RawMessage{}
	}
	r.all[ifname] = result
}

func (r *results) get(ifname string) json.RawMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[ifname]
}

// namespaces is where runtimes pin them.
const namespaces = "/run/netns"

// pod makes a container. Its namespace goes with the case.
func (r *Run) pod(id string) *Pod {
	p := &Pod{ID: id, NetNS: filepath.Join(namespaces, "cni-"+id)}
	r.must(p.pin())
	r.onEnd(func() { _ = p.unpin() })
	return p
}

// pin makes a new network namespace at the pod's path.
func (p *Pod) pin() error {
	if err := os.MkdirAll(namespaces, 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(p.NetNS, os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	_ = file.Close()
	failed := make(chan error)
	go func() {
		// The thread is in another namespace then, and ends with the goroutine.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", p.NetNS, "", unix.MS_BIND, "")
		}
		if err == nil {
			err = loopbackUp()
		}
		failed <- err
	}()
	if err := <-failed; err != nil {
		return fmt.Errorf("make the namespace of pod %s: %w", p.ID, err)
	}
	return nil
}

// loopbackUp does what the runtime, or the plug-in loopback, does first.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// unpin gives the namespace up, as a reboot or a runtime that died would.
func (p *Pod) unpin() error {
	if err := unix.Unmount(p.NetNS, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unpin the namespace of pod %s: %w", p.ID, err)
	}
	return os.Remove(p.NetNS)
}

// within runs f in the pod's namespace.
func (p *Pod) within(f func() error) error {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		ns, err := netns.GetFromPath(p.NetNS)
		if err == nil {
			if err = netns.Set(ns); err == nil {
				err = f()
			}
			_ = ns.Close()
		}
		failed <- err
	}()
	return <-failed
}

// handle is a netlink socket in the pod's namespace; the caller closes it.
func (p *Pod) handle() (*netlink.Handle, error) {
	ns, err := netns.GetFromPath(p.NetNS)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	return netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
}

// links are the names of the pod's interfaces but loopback.
func (p *Pod) links() (names []string, err error) {
	h, err := p.handle()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	all, err := h.LinkList()
	for _, l := range all {
		if l.Attrs().Flags&net.FlagLoopback == 0 && l.Type() != "sit" && l.Type() != "ip6tnl" && l.Type() != "ipip" && l.Type() != "gre" {
			names = append(names, l.Attrs().Name)
		}
	}
	return names, err
}
