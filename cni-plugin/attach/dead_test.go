package attach_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varve-project/varve/cni-plugin/attach"
)

// reserve writes a reservation as host-local does.
func reserve(t *testing.T, dir, addr, text string, age time.Duration) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	file := filepath.Join(dir, addr)
	must(t, os.WriteFile(file, []byte(text), 0o600))
	then := time.Now().Add(-age)
	must(t, os.Chtimes(file, then, then))
}

// A node that changes over: what host-local has given away is not given again,
// until its container goes.
func TestReservationsOfHostLocalAreImported(t *testing.T) {
	n := newNetwork(t, func(c map[string]any) {
		c["ipam"] = map[string]any{"type": "host-local", "dataDir": c["ipam"].(map[string]any)["dataDir"], "restSeconds": 0, "subnet": "10.89.1.0/29"}
	})
	dir := filepath.Join(n.dataDir, "test")
	reserve(t, dir, "10.89.1.2", "old\r\neth0", 0)
	reserve(t, dir, "10.89.1.3", "ancient", 0) // without an interface
	reserve(t, dir, "10.89.1.4", "dead\r\neth0", 10000*time.Hour)
	reserve(t, dir, "10.89.1.5", "", 0)
	reserve(t, dir, "last_reserved_ip.0", "10.89.1.3", 0)
	a, b := n.pod("a", nil), n.pod("b", nil)
	if a.ip(true).String() != "10.89.1.4" || b.ip(true).String() != "10.89.1.5" {
		t.Errorf("a and b got %s and %s", a.ip(true), b.ip(true))
	}
	old := n.container("old", nil)
	must(t, old.del())
	// Once: what host-local's folder still says is not read again.
	c := n.pod("c", nil)
	d := n.pod("d", nil)
	if got := c.ip(true).String() + " " + d.ip(true).String(); got != "10.89.1.2 10.89.1.6" && got != "10.89.1.6 10.89.1.2" {
		t.Errorf("c and d got %s", got)
	}
	out, err := n.call("ADD", "e", n.container("e", nil).ns.path, nil)
	wantCode(t, out, err, attach.CodeExhausted, "0 free, 5 leased")
	if out, err := n.call("GC", "", "", map[string]any{"cni.dev/valid-attachments": []any{}}); err != nil {
		t.Errorf("GC: %v %s", err, out)
	}
	n.wantNothingLeft()
	if _, err := os.Stat(filepath.Join(dir, "10.89.1.2")); err != nil {
		t.Errorf("a file of host-local's is gone: %v", err)
	}
}

// A link vanishes with its namespace, and no DEL ever comes: another pod's DEL
// frees the lease on the side, once a minute.
func TestDeadLeaseGoesByItself(t *testing.T) {
	n := newNetwork(t, nil)
	dead, other, third := n.pod("dead", ports(`{"hostPort":8080,"containerPort":80}`)), n.pod("other", nil), n.pod("third", nil)
	n.deleteLink(dead)
	past := time.Now().Add(-2 * time.Minute)
	must(t, os.Chtimes(filepath.Join(n.dataDir, "test/swept"), past, past))
	must(t, other.del())
	for _, line := range n.left() {
		if strings.Contains(line, "dead@eth0") || strings.Contains(line, dead.ip(true).String()+" ") || strings.HasSuffix(line, dead.ip(true).String()) {
			t.Error(line)
		}
	}
	must(t, third.check())
	must(t, third.del())
	n.wantNothingLeft()
}

// The first ADD after a reboot frees what the boot before has left.
func TestLeasesOfAnEarlierBootGoByThemselves(t *testing.T) {
	n := newNetwork(t, nil)
	for i := range 3 {
		n.pod(fmt.Sprint("p", i), nil)
	}
	n.remove()
	t.Setenv("VARVE_TEST_BOOT_ID", "another-boot")
	q := n.pod("q", nil)
	leases, err := os.ReadDir(filepath.Join(n.dataDir, "test/leases"))
	must(t, err)
	if len(leases) != 1 {
		t.Errorf("%d leases, want q's alone", len(leases))
	}
	must(t, q.del())
	n.wantNothingLeft()
}
