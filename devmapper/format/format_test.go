package format_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/format"
	"github.com/varve-project/varve/devmapper/superblock"
)

const gib = 1 << 30

func image(t *testing.T, bytes int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, bytes)); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMake: the file system is of the size asked for, and little of it is
// written: what a template allocates every pool holds.
func TestMake(t *testing.T) {
	for _, c := range []struct {
		spec    format.Spec
		written int64
	}{
		{format.Spec{FSType: "ext4", Bytes: 10 * gib}, 8 << 20},
		{format.Spec{FSType: "ext4", Bytes: 16 << 20}, 8 << 20},
		{format.Spec{FSType: "ext4", Bytes: gib, Options: []string{"-O", "^has_journal"}}, 8 << 20},
		{format.Spec{FSType: "xfs", Bytes: 10 * gib}, 80 << 20}, // its log
		{format.Spec{FSType: "xfs", Bytes: 300 << 20}, 80 << 20},
	} {
		path := image(t, c.spec.Bytes)
		if err := format.Make(t.Context(), c.spec, path); err != nil {
			t.Errorf("%s: %v", c.spec.Key(), err)
			continue
		}
		s, err := superblock.Read(path)
		if err != nil || s.FSType != c.spec.FSType || s.Size != c.spec.Bytes {
			t.Errorf("%s: %+v, %v", c.spec.Key(), s, err)
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Blocks*512 > c.written {
			t.Errorf("%s: %d bytes are written, want %d at most (%v)", c.spec.Key(), st.Blocks*512, c.written, err)
		}
	}
}

func TestMakeRefuses(t *testing.T) {
	if err := format.Make(t.Context(), format.Spec{FSType: "ext2", Bytes: gib}, image(t, gib)); !errdefs.IsInvalidArgument(err) {
		t.Errorf("ext2: %v, want InvalidArgument", err)
	}
	err := format.Make(t.Context(), format.Spec{FSType: "ext4", Bytes: gib, Options: []string{"-O", "nonsense"}}, image(t, gib))
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("an option that mkfs does not know: %v, want its words", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := format.Make(ctx, format.Spec{FSType: "xfs", Bytes: gib}, image(t, gib)); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	err = format.Make(t.Context(), format.Spec{FSType: "xfs", Bytes: gib}, image(t, gib))
	if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "xfsprogs") {
		t.Errorf("without mkfs.xfs: %v", err)
	}
}

func TestCheckOptions(t *testing.T) {
	for _, bad := range [][]string{{""}, {"-n"}, {"-O", "/dev/sda"}, {"-F"}} {
		if format.CheckOptions("ext4", bad) == nil {
			t.Errorf("%q passes", bad)
		}
	}
	for fs, good := range map[string][]string{"ext4": {"-O", "^has_journal"}, "xfs": {"-m", "reflink=0", "-n", "ftype=1", "-l", "size=64m"}} {
		if err := format.CheckOptions(fs, good); err != nil {
			t.Error(err)
		}
	}
}
