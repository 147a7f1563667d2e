package volume_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/csi-driver/volume"
)

func TestLocks(t *testing.T) {
	var l volume.Locks
	write, err := l.Exclusive("a")
	if err != nil {
		t.Fatal(err)
	}
	for name, take := range map[string]func(string) (func(), error){"exclusive": l.Exclusive, "shared": l.Shared} {
		if _, err := take("a"); !errors.Is(err, volume.ErrPending) {
			t.Errorf("%s beside a writer: %v", name, err)
		}
	}
	if _, err := l.Exclusive("b"); err != nil {
		t.Errorf("another key: %v", err)
	}
	write()
	read1, err1 := l.Shared("a")
	read2, err2 := l.Shared("a")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	read1()
	if _, err := l.Exclusive("a"); !errors.Is(err, volume.ErrPending) {
		t.Errorf("a writer beside a reader: %v", err)
	}
	read2()
	if _, err := l.Exclusive("a"); err != nil {
		t.Errorf("after all have gone: %v", err)
	}
}

func TestChoose(t *testing.T) {
	l := volume.Limits{Min: 16 << 20, Max: 1 << 40, Step: 4096, Default: 1 << 30}
	for _, c := range []struct {
		r     volume.Range
		floor int64
		want  int64 // 0 is ErrRange, -1 ErrInvalid
	}{
		{volume.Range{}, 0, 1 << 30},
		{volume.Range{Limit: 100 << 20}, 0, 100 << 20},
		{volume.Range{Limit: 100<<20 + 1}, 0, 100 << 20},
		{volume.Range{Required: 1}, 0, 16 << 20},
		{volume.Range{Required: 1e9}, 0, 1_000_001_536},
		{volume.Range{Required: 1e9, Limit: 1e9}, 0, 0},
		{volume.Range{Limit: 1 << 20}, 0, 0},
		{volume.Range{Required: 2 << 40}, 0, 0},
		{volume.Range{Required: math.MaxInt64}, 0, 0},
		{volume.Range{}, 64 << 20, 64 << 20},
		{volume.Range{Required: 32 << 20}, 64 << 20, 0},
		{volume.Range{Limit: 32 << 20}, 64 << 20, 0},
		{volume.Range{Required: -1}, 0, -1},
		{volume.Range{Limit: -1}, 0, -1},
		{volume.Range{Required: 2, Limit: 1}, 0, 0},
	} {
		got, err := l.Choose(c.r, c.floor)
		switch {
		case c.want > 0 && (err != nil || got != c.want):
			t.Errorf("%+v over %d = %d, %v; want %d", c.r, c.floor, got, err, c.want)
		case c.want == 0 && !errors.Is(err, volume.ErrRange), c.want == -1 && !errors.Is(err, volume.ErrInvalid):
			t.Errorf("%+v over %d = %d, %v", c.r, c.floor, got, err)
		}
	}
}

func FuzzChoose(f *testing.F) {
	f.Add(int64(1), int64(0), int64(0))
	f.Add(int64(math.MaxInt64), int64(0), int64(4096))
	l := volume.Limits{Min: 16 << 20, Max: 1 << 50, Step: 4096, Default: 1 << 30}
	f.Fuzz(func(t *testing.T, required, limit, floor int64) {
		if floor < 0 || floor > l.Max {
			return
		}
		r := volume.Range{Required: required, Limit: limit}
		size, err := l.Choose(r, floor)
		if err == nil && (!r.Holds(size) || size < floor || size < l.Min || size > l.Max || size%l.Step != 0) {
			t.Fatalf("%+v over %d = %d", r, floor, size)
		}
	})
}

func FuzzIDs(f *testing.F) {
	for _, s := range []string{volume.NewVolumeID(), volume.NewSnapshotID(), "vol-", "../../etc", "vol-" + strings.Repeat("g", 32), "a\x01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if volume.ValidID(s) == nil && (filepath.Base(s) != s || strings.ContainsAny(s, "./\x00 ") || len(s) > 40) {
			t.Errorf("id %q is accepted", s)
		}
		if volume.CheckName(s) == nil && (s == "" || len(s) > 128 || strings.ContainsRune(s, 0)) {
			t.Errorf("name %q is accepted", s)
		}
		if n := volume.Node(s); n.Check() == nil && (s == "" || len(s) > 63) {
			t.Errorf("node id %q is accepted", s)
		}
		page, _, err := volume.Page([]string{"vol-1", "vol-2"}, func(s string) string { return s }, 1, s)
		if s != "" && err == nil && !strings.HasPrefix(s, "after:") {
			t.Errorf("token %q gives %q", s, page)
		}
	})
}

// An entry is what a repair acts on: nothing that could be misunderstood is
// taken.
func FuzzJournal(f *testing.F) {
	id := "vol-" + strings.Repeat("a", 32)
	f.Add([]byte(fmt.Sprintf(`{"op":"create","id":%q}`, id)))
	f.Add([]byte(fmt.Sprintf(`{"op":"expand","id":%q,"size":-1}`, id)))
	f.Add([]byte(`{"op":"delete","id":"../../x"}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, id+".json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		entries, err := volume.ReadJournal(dir)
		if err != nil {
			if !strings.Contains(err.Error(), id+".json") {
				t.Errorf("the error does not name the file: %v", err)
			}
			return
		}
		for _, e := range entries {
			if e.ID != id || e.Op == volume.OpExpand && e.Size <= 0 {
				t.Errorf("%s is taken as %+v", text, e)
			}
		}
	})
}

func TestJournal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	j, err := volume.OpenJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	id := volume.NewVolumeID()
	if err := j.Begin(volume.Entry{Op: volume.OpExpand, ID: id, Size: 7}); err != nil {
		t.Fatal(err)
	}
	if err := j.Begin(volume.Entry{Op: volume.OpDelete, ID: "../x"}); err == nil {
		t.Error("an id with a path is accepted")
	}
	open, err := j.Open()
	if err != nil || len(open) != 1 || open[0].ID != id || open[0].Size != 7 || open[0].Started.IsZero() {
		t.Errorf("open: %+v, %v", open, err)
	}
	for range 2 {
		if err := j.Done(id); err != nil {
			t.Error(err)
		}
	}
	if open, err := j.Open(); err != nil || len(open) != 0 {
		t.Errorf("after Done: %+v, %v", open, err)
	}
}

func TestStatus(t *testing.T) {
	for err, code := range map[error]codes.Code{
		volume.ErrNotFound: codes.NotFound, volume.ErrConflict: codes.AlreadyExists,
		volume.ErrNoRoom: codes.ResourceExhausted, volume.ErrRange: codes.OutOfRange,
		volume.ErrInUse: codes.FailedPrecondition, volume.ErrInvalid: codes.InvalidArgument,
		volume.ErrPending: codes.Aborted, volume.ErrToken: codes.Aborted,
		errors.New("else"): codes.Internal, status.Error(codes.DataLoss, "x"): codes.DataLoss,
	} {
		wrapped := fmt.Errorf("v: %w", err)
		if got := status.Code(volume.Status(wrapped)); got != code {
			t.Errorf("%v becomes %s, want %s", err, got, code)
		}
	}
	if volume.Status(nil) != nil {
		t.Error("nil becomes an error")
	}
}

func TestParseCapability(t *testing.T) {
	mode := func(m csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability_AccessMode {
		return &csi.VolumeCapability_AccessMode{Mode: m}
	}
	files := func(m *csi.VolumeCapability_MountVolume) *csi.VolumeCapability {
		return &csi.VolumeCapability{AccessType: &csi.VolumeCapability_Mount{Mount: m},
			AccessMode: mode(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)}
	}
	for word, c := range map[string]*csi.VolumeCapability{
		"access_mode":        {AccessType: &csi.VolumeCapability_Block{}},
		"access_type":        {AccessMode: mode(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)},
		"MULTI_NODE":         {AccessType: &csi.VolumeCapability_Block{}, AccessMode: mode(csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER)},
		"btrfs":              files(&csi.VolumeCapability_MountVolume{FsType: "btrfs"}),
		"volume_mount_group": files(&csi.VolumeCapability_MountVolume{VolumeMountGroup: "1"}),
		"remount":            files(&csi.VolumeCapability_MountVolume{MountFlags: []string{"remount"}}),
	} {
		if _, err := volume.ParseCapability(c); !errors.Is(err, volume.ErrInvalid) || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", word, err)
		}
	}
}
