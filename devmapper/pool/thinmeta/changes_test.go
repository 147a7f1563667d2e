package thinmeta_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/pool/thinmeta"
)

func changesOf(t testing.TB, m *thinmeta.Metadata, older, newer uint32) []thinmeta.Change {
	t.Helper()
	var changes []thinmeta.Change
	if err := m.Changes(context.Background(), older, newer, func(c thinmeta.Change) error {
		changes = append(changes, c)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return changes
}

// delta asks thin_delta.
func delta(t testing.TB, path string, older, newer uint32) []thinmeta.Change {
	t.Helper()
	var out struct {
		Diff struct {
			Stretches []struct {
				XMLName xml.Name
				Begin   uint64 `xml:"begin,attr"`
				Length  uint64 `xml:"length,attr"`
			} `xml:",any"`
		} `xml:"diff"`
	}
	text := tool(t, "thin_delta", "--thin1", fmt.Sprint(older), "--thin2", fmt.Sprint(newer), path)
	if err := xml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]thinmeta.ChangeKind{"different": thinmeta.Changed, "left_only": thinmeta.Removed, "right_only": thinmeta.Added}
	var changes []thinmeta.Change
	for _, s := range out.Diff.Stretches {
		if kind, ok := kinds[s.XMLName.Local]; ok {
			changes = append(changes, thinmeta.Change{Virtual: s.Begin, Length: s.Length, Kind: kind})
		}
	}
	return changes
}

// Unrelated devices that overlap a lot: no subtree is shared.
func TestChangesAgainstThinDelta(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	p := &pool{runs: map[uint32][]thinmeta.Run{}}
	p.BlockSize, p.Blocks = 128, 1<<20
	for id := range uint32(6) {
		var d xmlDevice
		at := uint64(0)
		for range int(id) * 1500 {
			r := thinmeta.Run{Virtual: at, Data: at, Length: 1 + rng.Uint64N(5), Time: id}
			if rng.IntN(4) == 0 {
				r.Data = rng.Uint64N(p.Blocks - 10)
			}
			p.runs[id+1] = append(p.runs[id+1], r)
			d.Mapped += r.Length
			at += r.Length + 1 + rng.Uint64N(3)
		}
		d.ID = id + 1
		p.Devices = append(p.Devices, d)
	}
	path := restore(t, p.xml(), 32<<20)
	m := open(t, path)
	for older := uint32(1); older <= 6; older++ {
		for newer := uint32(1); newer <= 6; newer++ {
			got, want := changesOf(t, m, older, newer), delta(t, path, older, newer)
			if !slices.Equal(got, want) {
				t.Errorf("%d to %d: %d stretches, thin_delta has %d (or they differ)", older, newer, len(got), len(want))
			}
		}
	}
}

// fromTools begins an image with the space maps of an empty pool that
// thin_restore made, which thin_delta and thin_dump want to see.
func fromTools(t testing.TB) *image {
	t.Helper()
	p := &pool{}
	p.BlockSize, p.Blocks = 128, 1<<24
	data, err := os.ReadFile(restore(t, p.xml(), 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	im := &image{seen: map[uint64]int{}}
	for len(im.blocks) < 64 { // far more than an empty pool uses
		im.blocks = append(im.blocks, bytes.Clone(data[:blockSize]))
		data = data[blockSize:]
	}
	return im
}

func (im *image) save(t testing.TB) string {
	t.Helper()
	path := t.TempDir() + "/image"
	if err := os.WriteFile(path, bytes.Join(im.blocks, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 64<<20); err != nil {
		t.Fatal(err)
	}
	return path
}

// base returns the mappings of a device of n blocks, every second one mapped.
func base(n int) []entry {
	entries := make([]entry, n)
	for i := range entries {
		entries[i] = entry{uint64(2 * i), mapping(uint64(i), 0)}
	}
	return entries
}

// A family of snapshots that share most of their trees, as the kernel makes
// them: thin_delta agrees about every pair, and each pair also agrees with a
// comparison of the two devices' whole mappings.
func TestChangesOfSnapshots(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	im := fromTools(t)
	const blocks = 10000
	roots := map[uint32]uint64{1: im.tree(base(blocks), 8, 100)}
	for id := uint32(2); id < 7; id++ {
		root := roots[1+rng.Uint32N(id-1)]
		for range 1 + rng.IntN(25) {
			key := rng.Uint64N(2 * blocks)
			switch rng.IntN(3) {
			case 0:
				root = im.edit(t, root, key, nil) // a discard, if it is mapped
			default:
				root = im.edit(t, root, key, mapping(1<<20+rng.Uint64N(1<<20), id))
			}
		}
		roots[id] = root
	}
	im.devices(roots)
	path := im.save(t)
	m := open(t, path)
	checkDump(t, m, tool(t, "thin_dump", path))
	for older := range roots {
		for newer := range roots {
			got := changesOf(t, m, older, newer)
			if older < newer { // one direction: a run of the tool takes a while
				if want := delta(t, path, older, newer); !slices.Equal(got, want) {
					t.Errorf("%d to %d: %v, thin_delta has %v", older, newer, got, want)
				}
			}
			if want := compare(t, m, older, newer); !slices.Equal(got, want) {
				t.Errorf("%d to %d: %v, want %v", older, newer, got, want)
			}
		}
	}
}

// compare is Changes by brute force.
func compare(t testing.TB, m *thinmeta.Metadata, older, newer uint32) []thinmeta.Change {
	t.Helper()
	var sides [2]map[uint64]uint64
	keys := map[uint64]bool{}
	for i, id := range []uint32{older, newer} {
		sides[i] = map[uint64]uint64{}
		for _, r := range runsOf(t, m, id) {
			for b := range r.Length {
				sides[i][r.Virtual+b] = r.Data + b
				keys[r.Virtual+b] = true
			}
		}
	}
	ordered := make([]uint64, 0, len(keys))
	for key := range keys {
		ordered = append(ordered, key)
	}
	slices.Sort(ordered)
	var changes []thinmeta.Change
	for _, key := range ordered {
		was, had := sides[0][key]
		is, has := sides[1][key]
		c := thinmeta.Change{Virtual: key, Length: 1, Kind: thinmeta.Changed}
		switch {
		case had && has && was == is:
			continue
		case !has:
			c.Kind = thinmeta.Removed
		case !had:
			c.Kind = thinmeta.Added
		}
		if last := len(changes) - 1; last >= 0 && changes[last].Kind == c.Kind && changes[last].Virtual+changes[last].Length == key {
			changes[last].Length++
			continue
		}
		changes = append(changes, c)
	}
	return changes
}

// What two devices share is not read: the cost is that of the change, not of
// the devices.
func TestChangesSkipsWhatIsShared(t *testing.T) {
	im := newImage()
	const blocks = 500000
	old := im.tree(base(blocks), 8, 200)
	changed := im.edit(t, old, 400001, mapping(1<<30, 7))
	changed = im.edit(t, changed, 10, mapping(1<<30+1, 7))
	// A tree that grew by a level above the same subtrees, as by a split of
	// its root.
	taller := im.alloc()
	im.writeNode(taller, false, []entry{{0, u64(changed)}}, 8)
	im.devices(map[uint32]uint64{1: old, 2: changed, 3: old, 4: taller})
	m, err := thinmeta.Open(im)
	if err != nil {
		t.Fatal(err)
	}
	want := []thinmeta.Change{
		{Virtual: 10, Length: 1, Kind: thinmeta.Changed},
		{Virtual: 400001, Length: 1, Kind: thinmeta.Added},
	}
	for _, c := range []struct {
		newer uint32
		reads int
		want  []thinmeta.Change
	}{
		// 2 lookups of one node each, then the depth of each tree, 3 nodes and
		// 4, then both roots, and 3 nodes on the way to each of two changes, on
		// both sides.
		{2, 40, want}, {3, 40, nil}, {4, 40, want},
	} {
		im.reads = 0
		if got := changesOf(t, m, 1, c.newer); !slices.Equal(got, c.want) {
			t.Errorf("1 to %d: %v, want %v", c.newer, got, c.want)
		}
		if im.reads > c.reads {
			t.Errorf("1 to %d: %d reads of %d blocks, want at most %d", c.newer, im.reads, len(im.blocks), c.reads)
		}
	}
}

func TestNoSuchDevice(t *testing.T) {
	im := newImage()
	im.devices(map[uint32]uint64{5: im.tree(base(10), 8, 5)})
	m, err := thinmeta.Open(im)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	never := func(thinmeta.Change) error { t.Error("called"); return nil }
	_, err = m.Device(ctx, 4)
	for name, err := range map[string]error{
		"Device":   err,
		"Mappings": m.Mappings(ctx, 6, func(thinmeta.Run) error { t.Error("called"); return nil }),
		"older":    m.Changes(ctx, 6, 5, never),
		"newer":    m.Changes(ctx, 5, 6, never),
	} {
		if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "thin device") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCallbackAndContextEndTheWalk(t *testing.T) {
	im := newImage()
	im.devices(map[uint32]uint64{1: im.tree(base(1000), 8, 100), 2: im.tree(nil, 8, 100)})
	m, err := thinmeta.Open(im)
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	calls := 0
	if err := m.Mappings(context.Background(), 1, func(thinmeta.Run) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
		t.Errorf("Mappings: %v after %d calls", err, calls)
	}
	calls = 0
	if err := m.Changes(context.Background(), 1, 2, func(thinmeta.Change) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
		t.Errorf("Changes: %v after %d calls", err, calls)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Devices(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Devices: %v", err)
	}
	if binary.LittleEndian.Uint64(im.blocks[0][56:]) != 0 {
		t.Error("the image was written")
	}
}
