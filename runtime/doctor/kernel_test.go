package doctor_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The features are there, on the machines where the suite's tests run.
func TestKernelIsSound(t *testing.T) {
	c := suite(t)
	list := run(t, c)
	for _, f := range list {
		if strings.HasPrefix(f.ID, "node.") && f.ID != "node.clock.unsynchronised" && !strings.HasPrefix(f.ID, "node.disk.") {
			t.Errorf("%s %s: %s", f.ID, f.Object, f.Text)
		}
	}
	left, err := filepath.Glob(filepath.Join(c.Root, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("the probes left %q, %v", left, err)
	}
}

// An overlay cannot have its upper layer on an overlay.
func TestOverlayMissing(t *testing.T) {
	c := suite(t)
	dir := t.TempDir()
	mustRun(t, fmt.Sprintf("cd %s && mkdir upper work merged && mount -t overlay overlay -o lowerdir=/usr/share,upperdir=upper,workdir=work merged", dir))
	t.Cleanup(func() { _ = unix.Unmount(dir+"/merged", unix.MNT_DETACH) })
	c.Root = filepath.Join(dir, "merged")
	f := want(t, c, "node.overlay.missing", "")
	if !strings.Contains(f.Text, c.Root) {
		t.Errorf("the text does not say where: %s", f.Text)
	}
}

// In a user namespace of its own a process may have no network namespace.
func TestNetnsMissing(t *testing.T) {
	c := suite(t)
	list := lookFrom(t, c, "no-netns", func(cmd *exec.Cmd) {
		ids := []syscall.SysProcIDMap{{Size: 1}}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	})
	wantIn(t, list, "node.netns.missing", "")
}

// Without CAP_NET_ADMIN, as in many a container, no link and no rule is made.
func TestLinksAndRulesMissing(t *testing.T) {
	c := suite(t)
	list := lookFrom(t, c, "", func(cmd *exec.Cmd) {
		cmd.Args = []string{"setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-all", cmd.Path}
		path, err := exec.LookPath("setpriv")
		if err != nil {
			t.Fatal(err)
		}
		cmd.Args[len(cmd.Args)-1], _ = os.Executable()
		cmd.Path = path
	})
	wantIn(t, list, "node.link.missing", "veth")
	wantIn(t, list, "node.link.missing", "bridge")
	wantIn(t, list, "node.nftables.missing", "")
}

func TestSeccompMissing(t *testing.T) {
	wantIn(t, lookFrom(t, suite(t), "no-seccomp", nil), "node.seccomp.missing", "")
}

// breakSelf takes a feature away from this process.
func breakSelf(how string) error {
	switch how {
	case "":
		return nil
	case "no-netns":
		return os.WriteFile("/proc/sys/user/max_net_namespaces", []byte("0"), 0)
	case "no-seccomp":
		return forbidSeccomp()
	}
	return errors.New("unknown breakage " + how)
}

// forbidSeccomp makes the kernel answer seccomp(2) with ENOSYS, as one that
// lacks it does, in all threads of this process.
func forbidSeccomp() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_SECCOMP},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}

func mustRun(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}
