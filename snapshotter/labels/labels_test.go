package labels_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/snapshotter/labels"
)

const (
	uid  = snapshots.LabelSnapshotUIDMapping
	gid  = snapshots.LabelSnapshotGIDMapping
	size = snapshots.LabelSnapshotMaxSize
)

func TestParse(t *testing.T) {
	r, err := labels.Parse(map[string]string{uid: "0:100000:65536,65536:5:10", gid: "5:7:1,0:200000:5", size: "1048576", "other": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if u, g := r.IDs.Root(); u != 100000 || g != 200000 || r.MaxSize != 1<<20 {
		t.Errorf("root %d:%d, size %d", u, g, r.MaxSize)
	}
	if r.IDs.FormatUIDs() != "0:100000:65536,65536:5:10" || r.IDs.FormatGIDs() != "5:7:1,0:200000:5" {
		t.Errorf("formatted %s and %s", r.IDs.FormatUIDs(), r.IDs.FormatGIDs())
	}
	r, err = labels.Parse(map[string]string{"other": "x"})
	if err != nil || r.IDs != nil || r.MaxSize != 0 {
		t.Errorf("labels that ask for nothing: %+v, %v", r, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, label, value string }{
		{"size empty", size, ""}, {"size zero", size, "0"}, {"size negative", size, "-5"},
		{"size with unit", size, "5M"}, {"size too big", size, "9223372036854775808"},
		{"two fields", uid, "0:1"}, {"four fields", uid, "0:1:2:3"}, {"words", uid, "a:b:c"},
		{"size 0", uid, "0:1:0"}, {"negative", uid, "0:-1:1"}, {"no id", uid, "4294967295:0:1"},
		{"past the end", uid, "0:4294967294:2"}, {"overlap inside", uid, "0:100:10,5:200:10"},
		{"overlap outside", uid, "0:100:10,20:105:10"}, {"no root", uid, "1:100:10"},
		{"trailing comma", uid, "0:1:1,"}, {"space", uid, "0: 1:1"}, {"sign", uid, "+0:1:1"},
		{"too many", uid, strings.Repeat("0:1:1,", 400)},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := map[string]string{c.label: c.value}
			if c.label == uid {
				in[gid] = "0:1:1"
			}
			_, err := labels.Parse(in)
			if !errors.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), c.label) {
				t.Errorf("%v, want InvalidArgument that names %s", err, c.label)
			}
		})
	}
	for _, one := range []string{uid, gid} {
		if _, err := labels.Parse(map[string]string{one: "0:1:1"}); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s alone: %v, want InvalidArgument", one, err)
		}
	}
}

// FuzzParse: what is accepted has a root and reads the same again.
func FuzzParse(f *testing.F) {
	f.Add("0:100000:65536", "0:100000:65536", "1024")
	f.Add("0:1:1,1:5:3", "1:1:1,0:9:1", "")
	f.Add("4294967294:0:1", "::", "-1")
	f.Fuzz(func(t *testing.T, u, g, s string) {
		in := map[string]string{uid: u, gid: g}
		if s != "" {
			in[size] = s
		}
		r, err := labels.Parse(in)
		if err != nil {
			if !errors.Is(err, errdefs.ErrInvalidArgument) {
				t.Fatalf("%v is not InvalidArgument", err)
			}
			return
		}
		if s != "" && r.MaxSize <= 0 {
			t.Fatalf("size %q became %d", s, r.MaxSize)
		}
		again, err := labels.Parse(map[string]string{uid: r.IDs.FormatUIDs(), gid: r.IDs.FormatGIDs()})
		if err != nil || again.IDs.FormatUIDs() != r.IDs.FormatUIDs() || again.IDs.FormatGIDs() != r.IDs.FormatGIDs() {
			t.Fatalf("%q, %q formatted as %q, %q: %v", u, g, r.IDs.FormatUIDs(), r.IDs.FormatGIDs(), err)
		}
	})
}
