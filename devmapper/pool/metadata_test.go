package pool_test

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/devmapper/pool/thinmeta"
)

// TestLiveMetadata: a metadata snapshot of a pool that is written meanwhile
// holds what the kernel did, block for block.
func TestLiveMetadata(t *testing.T) {
	l := newLab(t, 256*mib, 16*mib)
	p := l.open()
	defer l.close(p)
	ctx := t.Context()
	base, path := l.thin(p, 64*mib)
	const block = 64 << 10
	for _, at := range []int64{0, 1, 2, 3, 10, 11, 500} {
		write(t, path, at*block, "old")
	}
	child := l.newID(p)
	if err := p.Snapshot(ctx, child, base); err != nil {
		t.Fatal(err)
	}
	childPath, err := p.Activate(ctx, child, pool.Activation{Bytes: 64 * mib})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{1, 2, 11, 600} {
		write(t, childPath, at*block, "new")
	}
	discard(t, childPath, 3*block, block)
	// Somebody writes all the while.
	noise, noisePath := l.thin(p, 64*mib)
	writing := writer(t, noisePath, 60)
	defer func() { _ = writing.Wait() }()

	err = p.Metadata(ctx, func(ctx context.Context, m *thinmeta.Metadata) error {
		if got, want := blocksOf(t, m, base), []uint64{0, 1, 2, 3, 10, 11, 500}; !slices.Equal(got, want) {
			t.Errorf("origin maps %v, want %v", got, want)
		}
		if got, want := blocksOf(t, m, child), []uint64{0, 1, 2, 10, 11, 500, 600}; !slices.Equal(got, want) {
			t.Errorf("snapshot maps %v, want %v", got, want)
		}
		var changes []thinmeta.Change
		err := m.Changes(ctx, uint32(base), uint32(child), func(c thinmeta.Change) error {
			changes = append(changes, c)
			return nil
		})
		if want := []thinmeta.Change{
			{Virtual: 1, Length: 2, Kind: thinmeta.Changed}, {Virtual: 3, Length: 1, Kind: thinmeta.Removed},
			{Virtual: 11, Length: 1, Kind: thinmeta.Changed}, {Virtual: 600, Length: 1, Kind: thinmeta.Added},
		}; !slices.Equal(changes, want) {
			t.Errorf("changes %v, want %v", changes, want)
		}
		devices, listErr := m.Devices(ctx)
		for _, d := range devices {
			if n := len(blocksOf(t, m, pool.ThinID(d.ID))); uint64(n) != d.MappedBlocks {
				t.Errorf("device %d maps %d blocks, its details say %d", d.ID, n, d.MappedBlocks)
			}
		}
		if len(devices) != 3 || devices[2].ID != uint32(noise) {
			t.Errorf("devices %+v", devices)
		}
		listing, toolErr := exec.CommandContext(ctx, "thin_ls", "-m", "--no-headers", "-o", "DEV", l.metadata.Path).Output()
		if got := strings.Fields(string(listing)); toolErr != nil || !slices.Equal(got, []string{base.String(), child.String(), noise.String()}) {
			t.Errorf("thin_ls sees %q: %v", got, toolErr)
		}
		return errors.Join(err, listErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := writing.Wait(); err != nil {
		t.Error(err)
	}
}

// blocksOf lists the blocks that a thin device maps.
func blocksOf(t *testing.T, m *thinmeta.Metadata, id pool.ThinID) (blocks []uint64) {
	t.Helper()
	if err := m.Mappings(context.Background(), uint32(id), func(r thinmeta.Run) error {
		for i := range r.Length {
			blocks = append(blocks, r.Virtual+i)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	return blocks
}

func discard(t *testing.T, path string, at, n uint64) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "blkdiscard", "--offset", strconv.FormatUint(at, 10), "--length", strconv.FormatUint(n, 10), path).CombinedOutput()
	if err != nil {
		t.Fatalf("blkdiscard: %v\n%s", err, out)
	}
}
