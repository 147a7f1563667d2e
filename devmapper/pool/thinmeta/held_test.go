package thinmeta_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/varve-project/varve/devmapper/pool/thinmeta"
)

func randomPoolSmall() *pool { return randomPool(rand.New(rand.NewPCG(8, 9)), 20, 20, 9) }

// The metadata snapshot stays as it was while the pool goes on.
func TestHeld(t *testing.T) {
	im := fromTools(t)
	root := im.tree(base(50), 8, 10)
	im.devices(map[uint32]uint64{1: root})
	m := must(thinmeta.Open(im))
	if _, err := m.Held(); !errors.Is(err, thinmeta.ErrNoSnapshot) {
		t.Errorf("Held of a pool without a snapshot: %v", err)
	}
	nr := im.hold()
	im.devices(map[uint32]uint64{2: im.edit(t, root, 2, nil), 3: root})

	path := im.save(t)
	m = open(t, path)
	if got := m.Superblock().HeldRoot; got != nr {
		t.Errorf("held root %d, want %d", got, nr)
	}
	held, err := m.Held()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok := held.Usage(); ok {
		t.Error("a metadata snapshot has no space maps, and claims a usage")
	}
	if _, err := held.Held(); !errors.Is(err, thinmeta.ErrNoSnapshot) {
		t.Errorf("the snapshot's own snapshot: %v", err)
	}
	for of, want := range map[*thinmeta.Metadata][]uint32{m: {2, 3}, held: {1}} {
		var ids []uint32
		for _, d := range must(of.Devices(context.Background())) {
			ids = append(ids, d.ID)
		}
		if !slices.Equal(ids, want) {
			t.Errorf("devices %v, want %v", ids, want)
		}
	}
	checkListing(t, held, tool(t, "thin_ls", "-m", "--no-headers", "-o", "DEV,MAPPED_BLOCKS,TRANSACTION,CREATE_TIME,SNAP_TIME", path))
	checkDump(t, held, tool(t, "thin_dump", "-m", path))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
