package overlay

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/snapshotter/labels"
)

func TestMounts(t *testing.T) {
	ids := &labels.IDMap{UIDs: []labels.Mapping{{Container: 0, Host: 1000, Size: 10}}, GIDs: []labels.Mapping{{Container: 0, Host: 2000, Size: 10}}}
	for _, c := range []struct {
		name    string
		kind    snapshots.Kind
		parents []string
		ids     *labels.IDMap
		want    string
	}{
		{"active without parent", snapshots.KindActive, nil, nil,
			"overlay overlay workdir=/r/work/9,upperdir=/r/layers/9,lowerdir=/r/bottom,index=off"},
		{"active", snapshots.KindActive, []string{"7", "3"}, nil,
			"overlay overlay workdir=/r/work/9,upperdir=/r/layers/9,lowerdir=/r/layers/7:/r/layers/3,index=off"},
		{"active mapped", snapshots.KindActive, []string{"7"}, ids,
			"overlay overlay uidmap=0:1000:10,gidmap=0:2000:10,workdir=/r/work/9,upperdir=/r/layers/9,lowerdir=/r/layers/7,index=off"},
		{"view without parent", snapshots.KindView, nil, nil, "bind /r/blank ro,rbind"},
		{"view of one", snapshots.KindView, []string{"7"}, nil, "bind /r/layers/7 ro,rbind"},
		{"view of two", snapshots.KindView, []string{"7", "3"}, nil,
			"overlay overlay ro,lowerdir=/r/layers/7:/r/layers/3,index=off"},
		{"view of one mapped", snapshots.KindView, []string{"7"}, ids,
			"overlay overlay uidmap=0:1000:10,gidmap=0:2000:10,ro,lowerdir=/r/layers/7:/r/bottom,index=off"},
		{"view without parent mapped", snapshots.KindView, nil, ids,
			"overlay overlay uidmap=0:1000:10,gidmap=0:2000:10,ro,lowerdir=/r/blank:/r/bottom,index=off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := spec{layout: layout{"/r"}, kind: c.kind, id: "9", parents: c.parents, ids: c.ids, options: []string{"index=off"}}.mounts()
			if len(m) != 1 {
				t.Fatalf("%d mounts", len(m))
			}
			if got := m[0].Type + " " + m[0].Source + " " + strings.Join(m[0].Options, ","); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestManyLowers mounts as many layers as the kernel takes (500,
// OVL_MAX_STACK), the way containerd's mount does: with mount(2) and its one
// page of options.
func TestManyLowers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	l := layout{filepath.Join(t.TempDir(), "a-root-of-quite-ordinary-length-such-as-var-lib-varve-overlay")}
	var parents []string
	for i := range 500 {
		// Numbers of a node that has seen a million snapshots.
		id := fmt.Sprint(1_000_000 + i)
		if err := os.MkdirAll(l.layer(id), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(l.layer(id), id), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		parents = append(parents, id)
	}
	const topID = "9999999"
	target := t.TempDir()
	for _, d := range []string{l.layer(topID), l.work(topID)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := spec{layout: l, kind: snapshots.KindActive, id: topID, parents: parents, options: guardOptions()}
	if err := mount.All(s.mounts(), target); err != nil {
		t.Fatalf("mount of 500 layers: %.200v", err)
	}
	defer func() { _ = unix.Unmount(target, unix.MNT_DETACH) }()
	entries, err := os.ReadDir(target)
	if err != nil || len(entries) != 500 {
		t.Errorf("%d files of 500 layers show: %v", len(entries), err)
	}
}

func TestLayoutRefusesSeparators(t *testing.T) {
	for _, root := range []string{"/a,b", "/a:b", `/a\b`, "/a\nb", "/"} {
		if _, err := newLayout(root); err == nil || !strings.Contains(err.Error(), "root") {
			t.Errorf("root %q: %v, want an error", root, err)
		}
	}
	if _, err := newLayout("/var/lib/varve/over lay"); err != nil {
		t.Error(err)
	}
}
