package main_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/devmapper/pool/setup"
	"github.com/varve-project/varve/internal/loop"
)

// spoil overwrites the first block of a metadata device.
func spoil(t *testing.T, device string) [32]byte {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	must(t, err)
	defer func() { must(t, f.Close()) }()
	_, err = f.WriteAt([]byte(strings.Repeat("spoilt! ", 512)), 0)
	must(t, err)
	must(t, f.Sync())
	whole, err := os.ReadFile(device)
	must(t, err)
	return sha256.Sum256(whole)
}

// fillThin makes a thin device with something on it: thin_repair tells the
// trees of a pool without superblock by what they map.
func fillThin(t *testing.T, p *pool.Pool) {
	t.Helper()
	ctx := context.Background()
	id, err := p.NewID(ctx)
	must(t, err)
	must(t, p.Create(ctx, id))
	path, err := p.Activate(ctx, id, pool.Activation{Bytes: 16 * mib})
	must(t, err)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.Write([]byte(strings.Repeat("data", mib/4)))
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	must(t, p.Deactivate(ctx, id, false))
}

// dmRemove removes a pool from the kernel, as a reboot does.
func dmRemove(t *testing.T, names ...string) {
	t.Helper()
	ctl, err := dm.Open()
	must(t, err)
	defer func() { _ = ctl.Close() }()
	for _, name := range names {
		must(t, ctl.Remove(name))
	}
}

// A pool whose superblock is gone is found to be broken, repaired with what the
// catalog knows, and opened with all its thin devices. The old metadata are
// kept to the byte, and nothing is done to a pool that is whole.
func TestPoolRepair(t *testing.T) {
	b := newBench(t)
	s := b.shapes()["devices"]()
	metadata := s.place[3]
	b.do(with(s.create, "create", "--uuid", testUUID)...)
	b.open(s, func(p *pool.Pool) {
		for range 3 {
			fillThin(t, p)
		}
		b.refused("owned by process", with(s.place, "repair")...)
		b.refused("owned by process", with(s.place, "destroy", testUUID, "--yes")...)
	})
	if r := b.do(with(s.place, "repair")...); !strings.Contains(r.out, "nothing to do") {
		t.Errorf("repair of a whole pool: %s", r.out)
	}
	dmRemove(t, "varve-111111112222-pool")
	want := spoil(t, metadata)
	if r := b.run(with(s.place, "check")...); r.code != 1 || !strings.Contains(r.out, "devmapper.metadata.damaged") {
		t.Errorf("check of a broken pool: exit %d\n%s%s", r.code, r.out, r.err)
	}
	dry := b.do(with(s.place, "repair", "--dry-run")...)
	if !strings.Contains(dry.out, "--transaction-id 1 --data-block-size 128") {
		t.Errorf("the catalog's numbers are not used: %s", dry.out)
	}
	r := b.do(with(s.place, "repair")...)
	if !strings.Contains(r.err, "3 thin devices are left") {
		t.Errorf("repair says: %s", r.err)
	}
	saved, err := filepath.Glob(filepath.Join(b.root, "metadata-*.saved"))
	if err != nil || len(saved) != 1 {
		t.Fatalf("saved: %v, %v", saved, err)
	}
	old, err := os.ReadFile(saved[0])
	must(t, err)
	if sha256.Sum256(old) != want {
		t.Error("the old metadata were not kept as they were")
	}
	b.open(s, func(p *pool.Pool) {
		if thins, err := p.Thins(context.Background()); err != nil || len(thins) != 3 {
			t.Errorf("the repaired pool holds %v, %v", thins, err)
		}
	})
	b.do(with(s.place, "destroy", testUUID, "--yes")...)
}

// A pool in files grows while it is open; one whose data shrank is refused.
func TestPoolExtend(t *testing.T) {
	b := newBench(t)
	s := b.shapes()["files"]()
	b.do(with(s.create, "create", "--uuid", testUUID)...)
	b.refused("never shrinks", with(s.place, "extend", "--data-size", "100M")...)
	b.refused("has none", with(s.place, "extend", "--device", "/dev/null")...)
	status := func() (got setup.Status) {
		must(t, json.Unmarshal([]byte(b.do(with(s.place, "status", "-o", "json")...).out), &got))
		return got
	}
	b.open(s, func(p *pool.Pool) {
		b.do(with(s.place, "extend", "--data", "+100M", "--metadata-size", "+16M")...)
		if got := status(); got.Data.Total != 400*mib || got.Metadata.Total != 32*mib || !strings.HasPrefix(got.Owner, "process ") {
			t.Errorf("grown to %+v", got)
		}
		makeThins(t, p, 1)
	})
	dmRemove(t, "varve-111111112222-pool", "varve-111111112222-data")
	dir := s.place[1]
	data := filepath.Join(dir, pool.LoopData)
	found, err := loop.Find(data)
	must(t, err)
	for _, d := range found {
		must(t, loop.Detach(context.Background(), d))
	}
	must(t, os.Truncate(data, 200*mib))
	b.refused("shrank", with(s.place, "extend")...)
	b.do(with(s.place, "destroy", testUUID, "--yes")...)
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is left", dir)
	}
}
