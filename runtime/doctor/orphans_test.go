package doctor_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/varve-project/varve/runtime/config"
	"github.com/varve-project/varve/runtime/pod"
	"github.com/varve-project/varve/test/built"
)

const (
	owned  = "11111111-2222-3333-4444-555555555555"
	orphan = "66666666-7777-8888-9999-000000000000"
)

// record makes a pod known, as `varve run` does before its first effect.
func record(t *testing.T, c config.Config) *pod.Record {
	t.Helper()
	r := &pod.Record{
		Key: pod.Key{Namespace: "default", Name: "owner"}, UID: owned, Created: time.Now(), Config: c,
		Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "owner"}},
	}
	if err := pod.NewStore(c).Create(r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNetnsOrphan(t *testing.T) {
	c := suite(t)
	record(t, c)
	paths := map[string]string{}
	for _, uid := range []string{owned, orphan} {
		path := filepath.Join(pod.NetNSDir(c), uid)
		// Twice, as two tries of pinning leave it when one was killed.
		pin := "unshare -n mount --bind /proc/self/ns/net " + path
		mustRun(t, fmt.Sprintf("mkdir -p %s && touch %s && %s && %s", pod.NetNSDir(c), path, pin, pin))
		t.Cleanup(func() { mustRun(t, "while umount -q -l "+path+"; do :; done") })
		paths[uid] = path
	}
	f := want(t, c, "runtime.netns.orphan", paths[orphan])
	if !f.Orphan {
		t.Error("it is not marked as an orphan")
	}
	absent(t, c, "runtime.netns.orphan", paths[owned])
	mend(t, c, f)
	if _, err := os.Stat(paths[orphan]); err == nil {
		t.Error("the command left the file")
	}
	if _, err := os.Stat(paths[owned]); err != nil {
		t.Error("the command took the other one")
	}
}

func TestPodStateOrphan(t *testing.T) {
	c := suite(t)
	record(t, c)
	dir := filepath.Join(c.RuntimeState(), "pods")
	for _, uid := range []string{owned, orphan} {
		mustRun(t, fmt.Sprintf("mkdir -p '%s/containers/a b'", filepath.Join(dir, uid)))
	}
	mend(t, c, want(t, c, "runtime.pod-state.orphan", filepath.Join(dir, orphan)))
	absent(t, c, "runtime.pod-state.orphan", filepath.Join(dir, owned))
}

// Mounts upon mounts, one with a space in its name, go; what was mounted
// stays as it was.
func TestMountOrphan(t *testing.T) {
	c := suite(t)
	record(t, c)
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, uid := range []string{owned, orphan} {
		p := filepath.Join(c.RuntimeState(), "pods", uid)
		mustRun(t, fmt.Sprintf("mkdir -p '%[1]s/root fs' && mount -t tmpfs tmpfs '%[1]s/root fs' && "+
			"mkdir '%[1]s/root fs/volume' && mount --bind %[2]s '%[1]s/root fs/volume'", p, data))
		t.Cleanup(func() { mustRun(t, fmt.Sprintf("umount -q -R -l '%s/root fs' || true", p)) })
	}
	f := want(t, c, "runtime.mount.orphan", filepath.Join(c.RuntimeState(), "pods", orphan))
	if !strings.Contains(f.Text, "2 mounts") {
		t.Errorf("text %q, want 2 mounts", f.Text)
	}
	mend(t, c, f)
	if _, err := os.Stat(filepath.Join(c.RuntimeState(), "pods", orphan)); err == nil {
		t.Error("the command left the folder")
	}
	if _, err := os.Stat(filepath.Join(data, "precious")); err != nil {
		t.Errorf("the command reached through the mount: %v", err)
	}
	if out, _ := exec.Command("findmnt", "-rn", "-o", "TARGET").Output(); !strings.Contains(string(out), owned) {
		t.Error("the mounts of the recorded pod are gone")
	}
}

func TestStagingOrphan(t *testing.T) {
	c := suite(t)
	dir := filepath.Join(c.RuntimeState(), "volumes")
	store := filepath.Join(c.RuntimeRoot(), "volumes")
	mustRun(t, "mkdir -p "+store)
	if err := os.WriteFile(filepath.Join(store, "default_data.json"), []byte(`{"namespace":"default","name":"data"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"default_data", "default_gone"} {
		stage := filepath.Join(dir, key, "stage")
		mustRun(t, fmt.Sprintf("mkdir -p %[1]s && mount -t tmpfs tmpfs %[1]s", stage))
		t.Cleanup(func() { mustRun(t, "umount -q -l "+stage+" || true") })
	}
	absent(t, c, "runtime.staging.orphan", filepath.Join(dir, "default_data"))
	mend(t, c, want(t, c, "runtime.staging.orphan", filepath.Join(dir, "default_gone")))
	if _, err := os.Stat(filepath.Join(dir, "default_gone")); err == nil {
		t.Error("the command left the folder")
	}
}

// A container that runs, of a pod that is not recorded.
func TestContainerOrphan(t *testing.T) {
	c := suite(t)
	record(t, c)
	c.OCIRuntime = built.Peer(t, "runc")
	bundle := t.TempDir()
	root := filepath.Join(c.RuntimeState(), "oci")
	mustRun(t, fmt.Sprintf(`cd %s && mkdir -p rootfs/bin && cp /bin/busybox rootfs/bin/ && %s spec &&
		sed -i 's/"terminal": true/"terminal": false/; s/"sh"/"\/bin\/busybox", "sleep", "60"/' config.json`, bundle, c.OCIRuntime))
	for _, uid := range []string{owned, orphan} {
		id := uid + "-web"
		mustRun(t, fmt.Sprintf("%s --root %s run --detach --bundle %s %s >/dev/null 2>&1 </dev/null", c.OCIRuntime, root, bundle, id))
		t.Cleanup(func() { mustRun(t, fmt.Sprintf("%s --root %s delete --force %s", c.OCIRuntime, root, id)) })
	}
	mend(t, c, want(t, c, "runtime.container.orphan", orphan+"-web"))
	out, err := exec.Command(c.OCIRuntime, "--root", root, "list", "-q").Output()
	if err != nil || strings.TrimSpace(string(out)) != owned+"-web" {
		t.Errorf("the runtime still knows %q, %v; want the recorded pod's alone", out, err)
	}
}

func TestCgroupOrphan(t *testing.T) {
	c := suite(t)
	record(t, c)
	for _, m := range cgroupMounts(t) {
		parent := filepath.Join(m.Mountpoint, c.CgroupParent())
		t.Cleanup(func() { _ = os.Remove(parent) })
		for _, uid := range []string{owned, orphan} {
			dir := filepath.Join(parent, uid)
			mustRun(t, "mkdir -p "+dir+"/container")
			t.Cleanup(func() { mustRun(t, fmt.Sprintf("if [ -d %[1]s ]; then rmdir %[1]s/container %[1]s; fi", dir)) })
		}
	}
	name := c.CgroupParent() + "/" + orphan
	absent(t, c, "runtime.cgroup.orphan", c.CgroupParent()+"/"+owned)
	f := want(t, c, "runtime.cgroup.orphan", name)

	// A living process in it makes it somebody's.
	procs := filepath.Join(cgroupMounts(t)[0].Mountpoint, name, "container", "cgroup.procs")
	cmd := exec.Command("sh", "-c", "echo $$ >"+procs+"; exec sleep 60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the process is in the cgroup", func() bool {
		data, _ := os.ReadFile(procs)
		return len(data) > 0
	})
	absent(t, c, "runtime.cgroup.orphan", name)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	mend(t, c, f)
}

func TestLoopOrphan(t *testing.T) {
	c := suite(t)
	file := filepath.Join(c.Root, "volume.img")
	mustRun(t, "truncate -s 1M "+file)
	out, err := exec.Command("losetup", "-f", "--show", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.Command("losetup", "-d", device).Run() })
	absent(t, c, "runtime.loop.orphan", device)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	mend(t, c, want(t, c, "runtime.loop.orphan", device))
}

// supervise holds the lock of a key in another process, as a supervisor does.
func supervise(t *testing.T, c config.Config, key string) *exec.Cmd {
	t.Helper()
	path := filepath.Join(pod.LocksDir(c), key+".lock")
	mustRun(t, "mkdir -p "+pod.LocksDir(c))
	cmd := exec.Command("flock", "--no-fork", path, "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	p, err := pod.FindProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the lock is held", func() bool { return exec.Command("flock", "-n", path, "true").Run() != nil })
	if err := os.WriteFile(path, []byte(p.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestSupervisorOrphan(t *testing.T) {
	c := suite(t)
	record(t, c)
	supervise(t, c, "default_owner")
	lost := supervise(t, c, "default_gone")
	f := want(t, c, "runtime.supervisor.orphan", "default_gone")
	absent(t, c, "runtime.supervisor.orphan", "default_owner")
	absent(t, c, "runtime.pod.unsupervised", "")
	go func() { _ = lost.Wait() }()
	mustRun(t, f.Command)
	waitUntil(t, "the supervisor is gone", func() bool {
		_, err := pod.FindProcess(lost.Process.Pid)
		return err != nil
	})
	absent(t, c, "runtime.supervisor.orphan", "")
}

func TestPodRecords(t *testing.T) {
	c := suite(t)
	r := record(t, c)
	want(t, c, "runtime.pod.unsupervised", "owner")

	store := pod.NewStore(c)
	ended := pod.NewStatus(r, "")
	ended.Phase, ended.Released = corev1.PodSucceeded, true
	if err := store.SetStatus(r, ended, true); err != nil {
		t.Fatal(err)
	}
	absent(t, c, "runtime.pod.unsupervised", "")
	ended.Leftovers = []string{"volume data: device is busy"}
	if err := store.SetStatus(r, ended, true); err != nil {
		t.Fatal(err)
	}
	want(t, c, "runtime.pod.leftovers", "owner")

	if err := os.WriteFile(filepath.Join(store.Paths(r).Dir, "pod.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	// What is nobody's cannot be told while a record cannot be read.
	mustRun(t, "mkdir -p "+filepath.Join(c.RuntimeState(), "pods", orphan))
	want(t, c, "runtime.pod.record-broken", "")
	absent(t, c, "runtime.pod-state.orphan", "")
}

func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
