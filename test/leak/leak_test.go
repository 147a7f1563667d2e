package leak_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/test/leak"
)

// plants puts one thing of each kind into the kernel and returns how to take
// it out again.
var plants = map[leak.Kind]func(*testing.T, string) func(){
	leak.Mount:     plantMount,
	leak.Namespace: plantNamespace,
	leak.Link:      plantLink,
	leak.Loop:      plantLoop,
	leak.NFT:       plantNFT,
	leak.Cgroup:    plantCgroup,
	leak.Process:   plantProcess,
}

func TestEveryKindIsSeenAndForgotten(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	for _, kind := range leak.Kinds() {
		for _, own := range []bool{true, false} {
			if !own && (kind == leak.Link || kind == leak.NFT) {
				continue // counted in a network namespace of one's own only
			}
			t.Run(fmt.Sprintf("%s/own=%v", kind, own), func(t *testing.T) {
				enterNamespaces(t)
				dir := t.TempDir()
				scope := leak.Scope{Paths: []string{dir}, Cgroups: []string{cgroupName()}, OwnMounts: own, OwnNetwork: own}
				before := take(t, scope)
				undo := plants[kind](t, dir)
				items := leak.Diff(before, take(t, scope))
				undo()
				if !slices.ContainsFunc(items, func(i leak.Item) bool { return i.Kind == kind }) {
					t.Fatal("the planted one was not seen")
				}
				if want := 5; kind == leak.NFT && len(items) != want { // table, chain, rule, set, element
					t.Errorf("saw %v, want %d", items, want)
				}
				for _, item := range items {
					if item.Kind != kind && kind != leak.Namespace { // its pin is a mount
						t.Errorf("also saw %s", item)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				left, err := leak.Settle(ctx, before, scope)
				if err != nil || len(left) > 0 {
					t.Errorf("after it was taken out: %v, %v", left, err)
				}
			})
		}
	}
}

func TestDescendantsAreOurs(t *testing.T) {
	dir := t.TempDir()
	scope := leak.Scope{Paths: []string{dir}}
	before := take(t, scope)
	// The shell names the folder, its child does not.
	cmd := exec.Command("sh", "-c", "sleep 60 & wait", dir)
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer killGroup(cmd)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		items := leak.Diff(before, take(t, scope))
		if len(items) == 2 && strings.Contains(items[0].Text+items[1].Text, "sleep 60") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("saw %v, want the shell and its child", items)
		}
	}
}

func TestScopeIsChecked(t *testing.T) {
	for _, scope := range []leak.Scope{{Paths: []string{"here"}}, {Paths: []string{"/"}}, {Cgroups: []string{""}}} {
		if _, err := leak.Take(scope); err == nil {
			t.Errorf("%+v was taken", scope)
		}
	}
}

// enterNamespaces gives the test a mount and a network namespace of its own.
// The thread stays locked, so it ends with the test.
func enterNamespaces(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_FS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
}

func take(t *testing.T, scope leak.Scope) leak.Snapshot {
	t.Helper()
	snapshot, err := leak.Take(scope)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

func plantMount(t *testing.T, dir string) func() {
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	return func() { must(t, unix.Unmount(dir, 0)) }
}

func plantNamespace(t *testing.T, dir string) func() {
	pin := filepath.Join(dir, "ns")
	must(t, os.WriteFile(pin, nil, 0o600))
	home, err := os.Open("/proc/thread-self/ns/net")
	must(t, err)
	defer home.Close()
	must(t, unix.Unshare(unix.CLONE_NEWNET))
	must(t, unix.Mount("/proc/thread-self/ns/net", pin, "", unix.MS_BIND, ""))
	must(t, unix.Setns(int(home.Fd()), unix.CLONE_NEWNET))
	return func() { must(t, unix.Unmount(pin, 0)) }
}

func plantLink(t *testing.T, _ string) func() {
	link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "leak0"}}
	must(t, netlink.LinkAdd(link))
	return func() { must(t, netlink.LinkDel(link)) }
}

func plantLoop(t *testing.T, dir string) func() {
	image := filepath.Join(dir, "image")
	must(t, os.WriteFile(image, make([]byte, 1<<20), 0o600))
	out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	return func() { must(t, exec.Command("losetup", "--detach", device).Run()) }
}

func plantNFT(t *testing.T, _ string) func() {
	conn, err := nftables.New()
	must(t, err)
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "leak"})
	chain := conn.AddChain(&nftables.Chain{Table: table, Name: "c"})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Counter{}}})
	set := &nftables.Set{Table: table, Name: "s", KeyType: nftables.TypeInetService}
	must(t, conn.AddSet(set, []nftables.SetElement{{Key: []byte{0, 80}}}))
	must(t, conn.Flush())
	return func() {
		conn.DelTable(table)
		must(t, conn.Flush())
	}
}

func cgroupName() string { return fmt.Sprintf("leak-test-%d", os.Getpid()) }

func plantCgroup(t *testing.T, _ string) func() {
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/unified"); err == nil {
		root += "/unified"
	}
	dir := filepath.Join(root, cgroupName())
	must(t, os.Mkdir(dir, 0o755))
	return func() { must(t, os.Remove(dir)) }
}

func plantProcess(t *testing.T, dir string) func() {
	cmd := exec.Command("sleep", "60")
	cmd.Dir = dir
	must(t, cmd.Start())
	return func() {
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ownGroup() *unix.SysProcAttr { return &unix.SysProcAttr{Setpgid: true} }

func killGroup(cmd *exec.Cmd) {
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	_ = cmd.Wait()
}
