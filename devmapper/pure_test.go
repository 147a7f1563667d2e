package devmapper

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/snapshotter/labels"
)

func TestMounts(t *testing.T) {
	ids := &labels.IDMap{UIDs: []labels.Mapping{{Host: 5, Size: 9}}, GIDs: []labels.Mapping{{Host: 6, Size: 9}}}
	plain, more := DefaultConfig(), DefaultConfig()
	more.OnlineDiscard, more.MountOptions = true, []string{"noatime"}
	for _, c := range []struct {
		spec spec
		want []string
	}{
		{spec{kind: snapshots.KindActive, fsType: "ext4", config: plain}, nil},
		{spec{kind: snapshots.KindView, fsType: "ext4", config: plain}, []string{"ro"}},
		{spec{kind: snapshots.KindActive, fsType: "xfs", config: plain}, []string{"nouuid"}},
		{spec{kind: snapshots.KindView, fsType: "xfs", config: more}, []string{"ro", "nouuid", "noatime"}},
		{spec{kind: snapshots.KindActive, fsType: "xfs", config: more, ids: ids}, []string{"discard", "nouuid", "noatime", "uidmap=0:5:9", "gidmap=0:6:9"}},
	} {
		c.spec.path = "/dev/mapper/x"
		want := mount.Mount{Type: c.spec.fsType, Source: "/dev/mapper/x", Options: c.want}
		got := c.spec.mounts()
		if len(got) != 1 || got[0].Type != want.Type || got[0].Source != want.Source || !slices.Equal(got[0].Options, want.Options) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// TestSize: who gets how large a file system.
func TestSize(t *testing.T) {
	const gib = int64(1) << 30
	d := &Driver{config: DefaultConfig()} // 10 GiB
	for _, c := range []struct {
		name      string
		kind      snapshots.Kind
		max, have int64
		fsType    string
		want      int64 // 0: refused
	}{
		{"plain", snapshots.KindActive, 0, 0, "ext4", 10 * gib},
		{"on its like", snapshots.KindActive, 0, 10 * gib, "ext4", 10 * gib},
		{"on a small parent", snapshots.KindActive, 0, gib, "ext4", 10 * gib},
		{"on a large parent", snapshots.KindActive, 0, 20 * gib, "ext4", 20 * gib},
		{"smaller than the default", snapshots.KindActive, gib + 5, 0, "ext4", gib},
		{"larger than its parent", snapshots.KindActive, 30 * gib, 20 * gib, "xfs", 30 * gib},
		{"smaller than its parent", snapshots.KindActive, gib, 10 * gib, "ext4", 0},
		{"smaller than an ext4", snapshots.KindActive, 1 << 20, 0, "ext4", 0},
		{"smaller than an xfs", snapshots.KindActive, 299 << 20, 0, "xfs", 0},
		{"view of a small parent", snapshots.KindView, 0, gib, "ext4", gib},
		{"view of nothing", snapshots.KindView, 0, 0, "ext4", 10 * gib},
	} {
		got, err := d.size(c.kind, request{Request: labels.Request{MaxSize: c.max}}, c.fsType, c.have)
		if c.want == 0 && !errdefs.IsInvalidArgument(err) || c.want > 0 && (err != nil || got != c.want) {
			t.Errorf("%s: %d, %v; want %d", c.name, got, err, c.want)
		}
	}
}

func TestUpdatedLabels(t *testing.T) {
	now := map[string]string{"a": "1", "b": "1"}
	for _, c := range []struct {
		given  map[string]string
		fields []string
		want   string
	}{
		{map[string]string{"c": "2"}, nil, "c=2 "},
		{map[string]string{"c": "2"}, []string{"labels"}, "c=2 "},
		{map[string]string{"a": "2", "b": ""}, []string{"labels.a", "labels.b"}, "a=2 "},
		{map[string]string{"c": "2", "a": "9"}, []string{"labels.c"}, "a=1 b=1 c=2 "},
		{nil, nil, ""},
	} {
		got := ""
		after := updated(now, c.given, c.fields)
		for _, k := range []string{"a", "b", "c"} {
			if v, ok := after[k]; ok {
				got += k + "=" + v + " "
			}
		}
		if got != c.want {
			t.Errorf("%v of %v: %q, want %q", c.fields, c.given, got, c.want)
		}
	}
}

// TestMoved: a growth changes neither way to count what a snapshot holds.
func TestMoved(t *testing.T) {
	ext4 := device{FSType: "ext4", Base: fill{Bytes: 100}, Hidden: -60}
	// Structures of 40 in 1000 more; statfs sees 960 of these, all free.
	got := ext4.moved(counts{total: 1000, visible: 900, used: 50}, counts{total: 2000, visible: 1860, used: 50})
	if got.Base.Bytes != 140 || got.Hidden != -100 {
		t.Errorf("ext4: base %d, hidden %d; want 140, -100", got.Base.Bytes, got.Hidden)
	}
	xfs := device{FSType: "xfs", Base: fill{Bytes: 100}, Hidden: 30}
	got = xfs.moved(counts{visible: 900, used: 150}, counts{visible: 1900, used: 170})
	if got.Base.Bytes != 100 || got.Hidden != 50 {
		t.Errorf("xfs: base %d, hidden %d; want 100, 50", got.Base.Bytes, got.Hidden)
	}
}

// TestKeys: one at a time for each key, and who gives up is gone.
func TestKeys(t *testing.T) {
	var k keys
	release, err := k.take(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := k.take(t.Context(), "b")
	if err != nil {
		t.Fatal("another key:", err)
	}
	other()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := k.take(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a taken key: %v, want DeadlineExceeded", err)
	}
	if _, err := k.take(ctx, "c"); err == nil {
		t.Error("a free key is given to a call that has ended")
	}
	taken := make(chan func())
	go func() {
		again, _ := k.take(context.Background(), "a")
		taken <- again
	}()
	release()
	(<-taken)()
	if len(k.held) != 0 {
		t.Errorf("%d keys are remembered", len(k.held))
	}
}

// TestSurplus: the templates that go are those not used for longest, never
// the usual one, nor one in use or that somebody waits for.
func TestSurplus(t *testing.T) {
	ts := templates{known: map[string]*kept{}}
	for _, key := range []string{"usual", "a", "b", "c", "d", "new"} {
		ts.add(key, template{Spec: key}, key == "new")
	}
	_, release, _ := ts.take("b")
	_, done, _ := ts.take("a") // used last of those idle
	done()
	gone := ts.surplus(2, "usual")
	if _, c := gone["c"]; len(gone) != 1 || !c {
		t.Errorf("%v goes, want c", gone)
	}
	release()
	if gone := ts.surplus(0, "usual"); len(gone) != 3 || len(ts.known) != 2 {
		t.Errorf("%v goes and %v stays", gone, ts.known)
	}
	if _, _, ok := ts.take("c"); ok {
		t.Error("a template that was given up is still there")
	}
}
