package overlay

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/log"

	"github.com/varve-project/varve/internal/finding"
)

func openAt(t *testing.T, root string, config Config) *Driver {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	d, err := Open(t.Context(), root, config, log.L)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (d *Driver) idOf(t *testing.T, key string) string {
	t.Helper()
	r, err := d.store.Get(t.Context(), key)
	must(t, err)
	return r.ID
}

func prepare(t *testing.T, d *Driver, key, parent string) {
	t.Helper()
	_, err := d.Prepare(t.Context(), key, parent)
	must(t, err)
}

func ids(list finding.List) string {
	var all []string
	for _, f := range list {
		all = append(all, f.ID)
	}
	return strings.Join(all, " ")
}

// TestAudit: orphans of every kind are found and, when told, moved to the
// trash; a lost layer is reported and nothing else.
func TestAudit(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	d := openAt(t, root, DefaultConfig())
	defer func() { _ = d.Close() }()
	prepare(t, d, "kept", "")
	prepare(t, d, "lost", "")
	_, err := d.View(t.Context(), "view", "")
	must(t, err)
	must(t, os.RemoveAll(d.layout.layer(d.idOf(t, "lost"))))
	orphans := []string{d.layout.layer("999"), d.layout.work("999"), filepath.Join(d.layout.layers(), "strange name"), d.layout.usage("999")}
	for _, o := range orphans {
		must(t, os.MkdirAll(o, 0o755))
	}
	for _, fix := range []bool{false, true, true} {
		list, err := d.Audit(t.Context(), fix)
		must(t, err)
		want := "overlay.layer.lost" + strings.Repeat(" overlay.layer.orphan", 4)
		if _, gone := os.Stat(orphans[0]); gone != nil {
			want = "overlay.layer.lost"
		}
		if !fix && ids(list) != want {
			t.Errorf("found %s, want %s", ids(list), want)
		}
		if list[0].Object != "lost" {
			t.Errorf("the lost layer is %q", list[0].Object)
		}
	}
	for _, o := range orphans {
		if _, err := os.Lstat(o); err == nil {
			t.Errorf("%s is still there", o)
		}
	}
	if _, err := d.Mounts(t.Context(), "kept"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(d.layout.layer(d.idOf(t, "kept"))); err != nil {
		t.Error(err)
	}
}

// TestStartRepairs: what a killed daemon left has gone after the next start.
func TestStartRepairs(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	d := openAt(t, root, DefaultConfig())
	prepare(t, d, "a", "")
	id := d.idOf(t, "a")
	must(t, d.Close())
	l := d.layout
	for _, dir := range []string{l.layer("77"), l.work("77"), filepath.Join(l.trash(), "000000000000-old", "deep"), filepath.Join(l.scratch(), ".probe-1", "x")} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	must(t, os.Remove(l.work(id)))
	d = openAt(t, root, DefaultConfig())
	defer func() { _ = d.Close() }()
	must(t, d.Cleanup(t.Context()))
	for _, dir := range []string{l.layer("77"), l.work("77")} {
		if _, err := os.Lstat(dir); err == nil {
			t.Errorf("%s is still there", dir)
		}
	}
	for _, dir := range []string{l.trash(), l.scratch()} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s holds %v (%v)", dir, left, err)
		}
	}
	if _, err := os.Stat(l.work(id)); err != nil {
		t.Errorf("the work directory was not made again: %v", err)
	}
}

// TestReboot: after a power cut, directories that were never synced are made
// again as Prepare made them; without one a missing layer is a loss.
func TestReboot(t *testing.T) {
	for _, c := range []struct {
		name     string
		rebooted bool
		want     string
	}{{"rebooted", true, ""}, {"same boot", false, "overlay.layer.lost"}} {
		t.Run(c.name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			d := openAt(t, root, DefaultConfig())
			prepare(t, d, "p", "")
			must(t, os.WriteFile(filepath.Join(d.layout.layer(d.idOf(t, "p")), "f"), []byte("x"), 0o644))
			must(t, os.Chmod(d.layout.layer(d.idOf(t, "p")), 0o751))
			must(t, d.Commit(t.Context(), "parent", "p"))
			prepare(t, d, "a", "parent")
			id := d.idOf(t, "a")
			must(t, d.Close())
			must(t, os.RemoveAll(d.layout.layer(id)))
			must(t, os.RemoveAll(d.layout.work(id)))
			if c.rebooted {
				must(t, os.WriteFile(d.layout.bootID(), []byte("another boot\n"), 0o600))
			}
			d = openAt(t, root, DefaultConfig())
			defer func() { _ = d.Close() }()
			list, err := d.Audit(t.Context(), false)
			must(t, err)
			if ids(list) != c.want {
				t.Errorf("found %q, want %q", ids(list), c.want)
			}
			if !c.rebooted {
				return
			}
			st, err := os.Stat(d.layout.layer(id))
			must(t, err)
			if st.Mode().Perm() != 0o751 {
				t.Errorf("the layer was made again with mode %o, its parent's is 751", st.Mode().Perm())
			}
		})
	}
}

// TestLostCommittedLayer: a committed layer that had files is never made
// again empty; one that was empty is.
func TestLostCommittedLayer(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	d := openAt(t, root, DefaultConfig())
	prepare(t, d, "e", "")
	must(t, d.Commit(t.Context(), "empty", "e"))
	prepare(t, d, "f", "")
	must(t, os.WriteFile(filepath.Join(d.layout.layer(d.idOf(t, "f")), "file"), nil, 0o644))
	must(t, d.Commit(t.Context(), "full", "f"))
	for _, name := range []string{"empty", "full"} {
		must(t, os.RemoveAll(d.layout.layer(d.idOf(t, name))))
	}
	must(t, d.Close())
	must(t, os.WriteFile(d.layout.bootID(), []byte("another boot\n"), 0o600))
	d = openAt(t, root, DefaultConfig())
	defer func() { _ = d.Close() }()
	list, err := d.Audit(t.Context(), false)
	must(t, err)
	if len(list) != 1 || list[0].Object != "full" {
		t.Errorf("lost: %+v, want full alone", list)
	}
}

// TestCommitWalksNothing: usage is counted when it is asked for, and then
// kept.
func TestCommitWalksNothing(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	d := openAt(t, root, DefaultConfig())
	prepare(t, d, "a", "")
	layer := d.layout.layer(d.idOf(t, "a"))
	must(t, os.WriteFile(filepath.Join(layer, "f"), make([]byte, 1<<20), 0o644))
	must(t, d.Commit(t.Context(), "c", "a"))
	id := d.idOf(t, "c")
	if r, err := d.store.Get(t.Context(), "c"); err != nil || r.Usage != unknown {
		t.Errorf("Commit recorded %+v (%v); it must not have counted", r.Usage, err)
	}
	first, err := d.Usage(t.Context(), "c")
	must(t, err)
	if first.Inodes != 2 || first.Size < 1<<20 {
		t.Errorf("usage %+v", first)
	}
	// From here on the note answers, also after a restart: a file that
	// appears (in reality none can) is not counted.
	must(t, os.WriteFile(filepath.Join(layer, "g"), nil, 0o644))
	must(t, d.Close())
	d = openAt(t, root, DefaultConfig())
	defer func() { _ = d.Close() }()
	if again, err := d.Usage(t.Context(), "c"); err != nil || again != first {
		t.Errorf("usage %+v (%v), was %+v", again, err, first)
	}
	must(t, os.WriteFile(d.layout.usage(id), []byte("12"), 0o600))
	if torn, err := d.Usage(t.Context(), "c"); err != nil || torn.Inodes != 3 {
		t.Errorf("with a torn note usage is %+v (%v), want it counted anew", torn, err)
	}
}

func TestRootMustBeFit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	root := filepath.Join(t.TempDir(), "root")
	must(t, os.MkdirAll(filepath.Join(root, "bottom", "leak"), 0o755))
	if _, err := Open(t.Context(), root, DefaultConfig(), log.L); err == nil || !strings.Contains(err.Error(), "leak") {
		t.Errorf("a bottom with something in it: %v", err)
	}
	if _, err := Open(t.Context(), "/tmp/a,b", DefaultConfig(), log.L); err == nil {
		t.Error("a root with a comma is accepted")
	}
	config := DefaultConfig()
	config.Quota = "require"
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "r"), config, log.L); err == nil {
		t.Log("this file system has quotas, so there is nothing to refuse")
	} else if !strings.Contains(err.Error(), "prjquota") {
		t.Errorf("quota = require on a file system without: %v, want the remedy named", err)
	}
}

func TestMaxSizeUnsupported(t *testing.T) {
	config := DefaultConfig()
	config.Quota, config.MaxSizeUnsupported = "off", "warn"
	d := openAt(t, filepath.Join(t.TempDir(), "root"), config)
	defer func() { _ = d.Close() }()
	limit := snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotMaxSize: "1048576"})
	if _, err := d.Prepare(t.Context(), "a", "", limit); err != nil {
		t.Errorf("max_size_unsupported = warn: %v", err)
	}
	d.config.MaxSizeUnsupported = "refuse"
	_, err := d.Prepare(t.Context(), "b", "", limit)
	if err == nil || !strings.Contains(err.Error(), "quota") || !strings.Contains(err.Error(), "1048576") {
		t.Errorf("%v, want an error that names value and remedy", err)
	}
}

func TestUpperdirLabel(t *testing.T) {
	config := DefaultConfig()
	config.UpperdirLabel = true
	d := openAt(t, filepath.Join(t.TempDir(), "root"), config)
	defer func() { _ = d.Close() }()
	const key = "containerd.io/snapshot/overlay.upperdir"
	_, err := d.Prepare(t.Context(), "a", "", snapshots.WithLabels(map[string]string{key: "/etc"}))
	must(t, err)
	want := d.layout.layer(d.idOf(t, "a"))
	info, err := d.Stat(t.Context(), "a")
	must(t, err)
	if info.Labels[key] != want {
		t.Errorf("Stat tells %q, want %q", info.Labels[key], want)
	}
	// Who writes back all that he read does not make it a record.
	info, err = d.Update(t.Context(), info)
	must(t, err)
	d.config.UpperdirLabel = false
	if info, err = d.Stat(t.Context(), "a"); err != nil || info.Labels[key] != "" {
		t.Errorf("the label is recorded: %v (%v)", info.Labels, err)
	}
}
