package attach_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// smallStore puts the lease store onto a file system of so many inodes and
// pages.
func (n *network) smallStore(options string) {
	n.t.Helper()
	must(n.t, unix.Mount("store", n.dataDir, "tmpfs", 0, options))
	n.t.Cleanup(func() { _ = unix.Unmount(n.dataDir, unix.MNT_DETACH) })
}

// A full disk under the lease store: an ADD that cannot be recorded does
// nothing and says so, DELs work, and with room again so do ADDs.
func TestFullDisk(t *testing.T) {
	for name, options := range map[string]string{"no inodes": "nr_inodes=24", "no bytes": "size=64k"} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, nil)
			n.smallStore(options)
			a := n.pod("a", full())
			full := fill(t, n.dataDir)
			p := n.container("p", nil)
			out, err := n.call("ADD", "p", p.ns.path, nil)
			wantCode(t, out, err, types.ErrIOFailure, "no space left")
			n.wantOnly("a", "ADD", "after an ADD on a full disk")
			must(t, a.check())
			must(t, a.del())
			n.wantNothingLeft()
			for _, f := range full {
				must(t, os.Remove(f))
			}
			must(t, p.add())
			must(t, p.del())
			n.wantNothingLeft()
		})
	}
}

// fill makes files, and writes into the last, until nothing more goes in.
func fill(t *testing.T, dir string) (files []string) {
	t.Helper()
	for i := 0; ; i++ {
		path := filepath.Join(dir, fmt.Sprintf("filler-%d", i))
		if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
			if exists(path) {
				files = append(files, path)
			}
			return files
		}
		files = append(files, path)
	}
}

// A store that has become read-only, as a file system does after an error of
// its disk: an error with its code and the path, and nothing is made.
func TestReadOnlyDisk(t *testing.T) {
	n := newNetwork(t, nil)
	n.smallStore("size=1m")
	a := n.pod("a", nil)
	must(t, unix.Mount("", n.dataDir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	out, err := n.call("ADD", "p", n.container("p", nil).ns.path, nil)
	wantCode(t, out, err, types.ErrIOFailure, "read-only")
	out, err = n.call("DEL", "a", a.ns.path, nil)
	wantCode(t, out, err, types.ErrIOFailure, "read-only")
	out, err = n.call("STATUS", "", "", nil)
	wantCode(t, out, err, types.ErrPluginNotAvailable, n.dataDir)
	must(t, unix.Mount("", n.dataDir, "", unix.MS_REMOUNT, ""))
	must(t, a.check())
	must(t, a.del())
	n.wantNothingLeft()
}

// A record that a power cut tore or zeroed is its key's alone: it goes with the
// DEL, and nobody else notices.
func TestTornRecord(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"torn":   func(b []byte) []byte { return b[:len(b)/2] },
		"zeroed": func(b []byte) []byte { return make([]byte, len(b)) },
		"empty":  func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, nil)
			a, b := n.pod("a", nil), n.pod("b", nil)
			file := filepath.Join(n.dataDir, "test/leases/a@eth0")
			data, err := os.ReadFile(file)
			must(t, err)
			must(t, os.WriteFile(file, damage(data), 0o600))
			out, err := n.call("CHECK", "a", a.ns.path, map[string]any{"prevResult": map[string]any{"cniVersion": "1.1.0"}})
			wantCode(t, out, err, types.ErrIOFailure, "a@eth0")
			c := n.pod("c", nil)
			for _, other := range []*attachment{a, b} {
				if c.ip(true) == other.ip(true) {
					t.Errorf("c and %s both have %s", other.id, c.ip(true))
				}
			}
			must(t, a.del())
			must(t, b.check())
			must(t, a.add())
			for _, p := range []*attachment{a, b, c} {
				must(t, p.del())
			}
		})
	}
}

// The namespace dies between two steps of its ADD, whose own handle on it is
// then the last: its links go with the process. The next DEL, or the next sweep,
// leaves nothing.
func TestNamespaceDiesDuringADD(t *testing.T) {
	n := newNetwork(t, nil)
	n.pod("other", nil)
	for i, point := range []string{"cni.ipam.index.before", "cni.add.bridge.before", "cni.add.pod.before", "cni.add.port.before", "cni.ipam.record.after"} {
		p := n.container("p", full())
		n.env = []string{"VARVE_FAILPOINT=" + point + "=sleep:200ms"}
		done := make(chan error, 1)
		go func() {
			_, err := n.call("ADD", "p", p.ns.path, map[string]any{"runtimeConfig": full()})
			done <- err
		}()
		time.Sleep(100 * time.Millisecond)
		p.ns.drop()
		// The namespace was there when it was opened, so either is right.
		if err := <-done; err != nil {
			t.Logf("the ADD stopped at %s: %v", point, err)
		}
		n.env = nil
		for range 100 { // the kernel drops a namespace in its own time
			if l, err := netlink.LinkList(); err == nil && len(l) <= 4 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if i%2 == 0 {
			n.works("DEL", "p", p.ns.path)
		} else {
			run(t, binary+" reclaim --network test --data-dir "+n.dataDir)
		}
		n.wantOnly("other", "DEL", "the namespace died at "+point)
	}
}
