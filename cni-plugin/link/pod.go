package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoNamespace means that a path is no network namespace (any more).
var ErrNoNamespace = errors.New("not a network namespace")

// Pod is a pod's network namespace. It is used by one goroutine.
type Pod struct {
	path   string
	fd     int
	cookie uint64
	h      *netlink.Handle
}

// OpenPod opens the namespace at path, which stays alive until Close. The
// error wraps ErrNoNamespace when path is gone or something else.
func OpenPod(path string) (*Pod, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrNoNamespace, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || (fs.Type != unix.NSFS_MAGIC && fs.Type != unix.PROC_SUPER_MAGIC) {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("%s: %w", path, ErrNoNamespace)
	}
	p := &Pod{path: path, fd: fd}
	err = p.do(func() error {
		if p.h, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return err
		}
		p.cookie, err = netnsCookie()
		return err
	})
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return p, nil
}

// Close releases the namespace.
func (p *Pod) Close() {
	if p.h != nil {
		p.h.Close()
	}
	_ = unix.Close(p.fd)
}

// Cookie is the kernel's own number of the namespace, never reused within a
// boot (SO_NETNS_COOKIE, Linux 5.14); 0 where the kernel has none.
func (p *Pod) Cookie() uint64 { return p.cookie }

// IsHost tells whether the path leads to the program's own namespace.
func (p *Pod) IsHost() (bool, error) {
	var here, there unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &here); err != nil {
		return false, err
	}
	err := unix.Fstat(p.fd, &there)
	return here.Ino == there.Ino && here.Dev == there.Dev, err
}

// netnsCookie reads the cookie of the calling thread's namespace off a socket
// made in it.
func netnsCookie() (uint64, error) {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(s)
	cookie, err := unix.GetsockoptUint64(s, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return 0, nil
	}
	return cookie, err
}

// do runs f on a thread inside the namespace. The thread comes back, or dies:
// a goroutine that ends locked takes its thread with it.
func (p *Pod) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		here, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		defer unix.Close(here)
		if err := unix.Setns(p.fd, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		err = f()
		if back := unix.Setns(here, unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// Interface describes what the pod's end is to have.
type Interface struct {
	Name      string
	Addresses []netip.Prefix
	Routes    []netlink.Route // LinkIndex is filled in
	DAD       bool
}

// State is what the pod's end has.
type State struct {
	Index     int
	PeerIndex int // of the host's end, in the host's namespace
	MAC       net.HardwareAddr
	MTU       int
	Up        bool
	Addresses []netip.Prefix
}

// Find looks the pod's end up, without its addresses. The error wraps
// ErrNotFound when there is none.
func (p *Pod) Find(name string) (State, error) {
	l, err := byName(p.h, name)
	if err != nil {
		return State{}, fmt.Errorf("in %s: %w", p.path, err)
	}
	a := l.Attrs()
	return State{Index: a.Index, PeerIndex: a.ParentIndex, MAC: a.HardwareAddr, MTU: a.MTU, Up: a.Flags&net.FlagUp != 0}, nil
}

// Inspect is Find with the global addresses.
func (p *Pod) Inspect(name string) (State, error) {
	s, err := p.Find(name)
	if err != nil {
		return s, err
	}
	l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, Index: s.Index}}
	addrs, err := retry(func() ([]netlink.Addr, error) { return p.h.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return s, fmt.Errorf("in %s: list addresses of %s: %w", p.path, name, err)
	}
	for i := range addrs {
		if a, ok := prefixOf(addrs[i].IPNet); ok && !a.Addr().IsLinkLocalUnicast() {
			s.Addresses = append(s.Addresses, a)
		}
	}
	return s, nil
}

// Configure brings the pod's end up with its addresses and routes.
func (p *Pod) Configure(index int, want Interface) error {
	if err := p.do(func() error { return podSysctls(want) }); err != nil {
		return fmt.Errorf("in %s: %w", p.path, err)
	}
	l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: want.Name, Index: index}}
	if err := p.h.LinkSetUp(l); err != nil {
		return fmt.Errorf("in %s: bring %s up: %w", p.path, want.Name, err)
	}
	for _, a := range want.Addresses {
		if err := p.h.AddrAdd(l, kernelAddr(a, want.DAD)); err != nil {
			return fmt.Errorf("in %s: add address %s to %s: %w", p.path, a, want.Name, err)
		}
	}
	for i := range want.Routes {
		r := want.Routes[i]
		r.LinkIndex = index
		if err := p.h.RouteAdd(&r); err != nil && !errors.Is(err, syscall.EEXIST) {
			return fmt.Errorf("in %s: add route %s: %w", p.path, routeText(r), err)
		}
	}
	return nil
}

func routeText(r netlink.Route) string {
	text := "to everywhere"
	if r.Dst != nil {
		text = "to " + r.Dst.String()
	}
	if r.Gw != nil {
		text += " by " + r.Gw.String()
	}
	return text
}

// podSysctls runs inside the namespace, before the interface comes up.
func podSysctls(want Interface) error {
	if !hasIPv6() {
		return nil
	}
	conf := "net/ipv6/conf/" + want.Name + "/"
	dad := "0"
	if want.DAD {
		dad = "1"
	}
	hasV6 := false
	for _, a := range want.Addresses {
		hasV6 = hasV6 || a.Addr().Is6()
	}
	list := [][2]string{
		{"accept_ra", "0"},    // addresses and routes come from the lease alone
		{"accept_dad", dad},   // leases are unique; detection costs a second
		{"disable_ipv6", "0"}, // some runtimes make namespaces with it off
	}
	if !hasV6 {
		list = list[:2]
	}
	for _, s := range list {
		if err := SetSysctl(conf+s[0], s[1]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// MissingRoutes lists those of want that the link does not have.
func (p *Pod) MissingRoutes(index int, want []netlink.Route) ([]string, error) {
	if len(want) == 0 {
		return nil, nil
	}
	have, err := retry(func() ([]netlink.Route, error) {
		return p.h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: index, Table: unix.RT_TABLE_UNSPEC},
			netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("in %s: list routes: %w", p.path, err)
	}
	var out []string
	for _, w := range want {
		found := false
		for _, r := range have {
			found = found || sameDst(r.Dst, w.Dst) && (w.Gw == nil || w.Gw.Equal(r.Gw)) && (w.Table == 0 || w.Table == r.Table)
		}
		if !found {
			out = append(out, routeText(w))
		}
	}
	return out, nil
}

// sameDst compares destinations; the library has nil for some default routes.
func sameDst(a, b *net.IPNet) bool {
	if a == nil || b == nil {
		return (a == nil || isDefault(a)) && (b == nil || isDefault(b))
	}
	return a.String() == b.String()
}
