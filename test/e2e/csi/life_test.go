package csi_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/internal/loop"
	"github.com/varve-project/varve/test/built"
)

// A pod goes on while the daemon is killed, and the next daemon knows what its
// predecessor had done.
func TestPodsOutliveTheDaemon(t *testing.T) {
	d := start(t, "--store-size", "1GiB")
	u := d.use(d.create(sized("v", mounted("ext4"), 64*mib)), mounted("ext4"))
	f, err := os.Create(filepath.Join(u.target, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, end := range []func(){d.kill, d.stop} {
		end()
		if _, err := f.WriteString("still here\n"); err != nil {
			t.Error(err)
		}
		if err := f.Sync(); err != nil {
			t.Error(err)
		}
		d.start()
	}
	must(d.NodePublishVolume(soon(t), u.publish()))(t)
	_ = f.Close()
	u.release()
	d.remove(u.id)
}

// A daemon killed while a file system is frozen leaves nobody hanging: its
// guard thaws, with no new daemon in sight.
func TestKilledWhileFrozen(t *testing.T) {
	d := newDriver(t, built.Failpoint(t, "varve-csi"), "--store-size", "1GiB")
	d.start("VARVE_FAILPOINT=csi.snapshot.freeze.after=kill")
	u := d.use(d.create(sized("v", mounted("xfs"), 304*mib)), mounted("xfs"))
	_, err := d.CreateSnapshot(soon(t), &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: u.id})
	if err == nil {
		t.Fatal("the daemon was not killed")
	}
	d.ended()
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(filepath.Join(u.target, "x"), []byte("x"), 0o600) }()
	select {
	case err := <-wrote:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the file system is still frozen")
	}
	d.start()
	snap := d.snapshot("s", u.id)
	d.removeSnapshot(snap.GetSnapshotId())
	u.release()
	d.remove(u.id)
}

// After a reboot nothing is mounted, whatever the records say; the orchestrator
// stages and publishes again at the same places.
func TestReboot(t *testing.T) {
	d := start(t, "--store-size", "1GiB")
	u := d.use(d.create(sized("v", mounted("ext4"), 64*mib)), mounted("ext4"))
	fill(t, u.target, 4, 20, 4096)
	before := digest(t, u.target)
	d.kill()
	reboot(t, d, u)
	d.start()
	stats := &csi.NodeGetVolumeStatsRequest{VolumeId: u.id, VolumePath: u.target}
	_, err := d.NodeGetVolumeStats(soon(t), stats)
	wants(t, err, codes.NotFound)
	_, err = d.NodePublishVolume(soon(t), u.publish())
	says(t, err, codes.FailedPrecondition, "NodeStageVolume")
	must(d.NodeStageVolume(soon(t), u.stage()))(t)
	must(d.NodePublishVolume(soon(t), u.publish()))(t)
	if digest(t, u.target) != before {
		t.Error("the content changed over the reboot")
	}
	u.release()
	d.remove(u.id)
}

// reboot takes away what a reboot takes away, and makes the records another
// boot's.
func reboot(t *testing.T, d *driver, u used) {
	t.Helper()
	for _, path := range []string{u.target, u.staging} {
		if err := syscall.Unmount(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	detach(t, d.path("root/pool/store/volumes", u.id, "image"))
	if err := syscall.Unmount(d.path("root/pool/store"), 0); err != nil {
		t.Fatal(err)
	}
	detach(t, d.path("root/pool/store.xfs"))
	path := d.path("root/node", u.id+".json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(string(text), strings.TrimSpace(string(boot)), "00000000-0000-0000-0000-000000000000", 1)
	if err := os.WriteFile(path, []byte(other), 0o600); err != nil || other == string(text) {
		t.Fatalf("the record has no boot id (%v): %s", err, text)
	}
}

func detach(t *testing.T, image string) {
	t.Helper()
	found, err := loop.Find(image)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range found {
		if err := loop.Detach(soon(t), l); err != nil {
			t.Fatal(err)
		}
	}
}

// findings runs the doctor and returns what it found, without notes.
func (d *driver) findings() finding.List {
	d.t.Helper()
	args := append([]string{"doctor", "-o", "json", "--config", os.DevNull, "--root", d.path("root"), "--address", d.socket()}, d.args...)
	out, err := exec.Command(d.binary, args...).Output()
	if err != nil {
		d.t.Fatalf("doctor: %v", err)
	}
	var all, list finding.List
	if err := json.Unmarshal(out, &all); err != nil {
		d.t.Fatalf("doctor: %v: %s", err, out)
	}
	for _, f := range all {
		if f.Severity != finding.Info {
			list = append(list, f)
		}
	}
	return list
}

// The doctor is quiet about a node that is well, in use or not, and names what
// was planted.
func TestDoctor(t *testing.T) {
	d := start(t, "--store-size", "1GiB")
	quiet := func(when string) {
		t.Helper()
		if list := d.findings(); len(list) > 0 {
			t.Errorf("%s: %+v", when, list)
		}
	}
	quiet("new")
	u := d.use(d.create(sized("v", mounted("ext4"), 64*mib)), mounted("ext4"))
	lost := d.create(sized("lost", raw(), mib))
	quiet("in use")

	old := time.Now().Add(-time.Hour)
	leftover := d.path("root/pool/store/work/vol-" + strings.Repeat("1", 32))
	entry := `{"op":"create","id":"vol-` + strings.Repeat("1", 32) + `","started":"2020-01-01T00:00:00Z"}`
	image := d.path("root/pool/store/volumes", lost, "image")
	planted, err := loop.Attach(soon(t), image, loop.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Mkdir(leftover, 0o700),
		os.Chtimes(leftover, old, old),
		os.WriteFile(d.path("root/pool/store/journal/vol-"+strings.Repeat("1", 32)+".json"), []byte(entry), 0o600),
		os.Truncate(image, 4096),
		syscall.Unmount(u.target, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{
		"csi.pool.leftover":      leftover,
		"csi.journal.unfinished": "vol-" + strings.Repeat("1", 32),
		"csi.loop.leaked":        planted.Path,
		"csi.pool.damaged":       filepath.Dir(image),
		"csi.mount.missing":      u.target,
	}
	for _, f := range d.findings() {
		if want[f.ID] != f.Object {
			t.Errorf("found %+v", f)
		}
		delete(want, f.ID)
	}
	if len(want) > 0 {
		t.Errorf("not found: %v", want)
	}

	// A restart mends what it says it mends.
	if err := os.Truncate(image, mib); err != nil {
		t.Fatal(err)
	}
	d.stop()
	d.start()
	must(d.NodePublishVolume(soon(t), u.publish()))(t)
	quiet("after a restart")
	u.release()
	d.remove(u.id)
	d.remove(lost)
}
