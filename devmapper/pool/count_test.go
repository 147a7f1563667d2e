package pool_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/dm/recorder"
	"github.com/varve-project/varve/devmapper/pool"
)

// ioctls are the names of what was recorded since the last look.
func ioctls(r *recorder.Recorder) []string {
	names := []string{}
	for _, c := range r.Take() {
		names = append(names, strings.TrimPrefix(recorder.Name(c.Request), "DM_"))
	}
	return names
}

// TestCounts holds the cost of every call: what the kernel is asked, in order.
// A pool commit comes with each TARGET_MSG, and none with anything else but
// Flush.
func TestCounts(t *testing.T) {
	l := newLab(t, 256*mib, 16*mib)
	var rec *recorder.Recorder
	ctl, err := dm.Open(dm.WithoutScan(), dm.WithKernel(func(k dm.Kernel) dm.Kernel {
		rec = recorder.Over(k)
		return rec
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer ctl.Close()
	p := l.open(func(o *pool.Options) { o.Control = ctl })
	defer l.close(p)
	ctx := t.Context()
	const size = 64 * mib
	activate := func(id pool.ThinID, bytes uint64) func() error {
		return func() error {
			_, err := p.Activate(ctx, id, pool.Activation{Bytes: bytes})
			return err
		}
	}
	base, child, third := l.newID(p), l.newID(p), l.newID(p)
	for _, step := range []struct {
		name string
		call func() error
		want string
	}{
		{"create", func() error { return p.Create(ctx, base) }, "TARGET_MSG DEV_STATUS"},
		{"snapshot of an inactive origin", func() error { return p.Snapshot(ctx, child, base) }, "DEV_SUSPEND TARGET_MSG DEV_STATUS"},
		{"activate", activate(child, size), "DEV_CREATE TABLE_LOAD DEV_SUSPEND"},
		{"activate what is active", activate(child, size), "DEV_CREATE TABLE_STATUS"},
		{"grow", activate(child, 2*size), "DEV_CREATE TABLE_STATUS TABLE_LOAD DEV_SUSPEND DEV_SUSPEND"},
		{"snapshot of an active origin", func() error { return p.Snapshot(ctx, third, child) }, "DEV_SUSPEND TARGET_MSG DEV_STATUS DEV_SUSPEND"},
		{"active", func() error { _, _, _, err := p.Active(ctx, child); return err }, "TABLE_STATUS"},
		{"flush", func() error { return p.Flush(ctx, child) }, "DEV_SUSPEND DEV_SUSPEND TABLE_STATUS"},
		{"status", func() error { _, err := p.Status(ctx); return err }, "TABLE_STATUS LIST_DEVICES"},
		{"thins", func() error { _, err := p.Thins(ctx); return err }, "TARGET_MSG TARGET_MSG"},
		{"admit", p.Admit, ""},
		{"new id", func() error { _, err := p.NewID(ctx); return err }, ""},
		{"deactivate", func() error { return p.Deactivate(ctx, child, false) }, "DEV_REMOVE"},
		{"deactivate lazily", func() error { return p.Deactivate(ctx, child, true) }, "DEV_REMOVE"},
		{"delete", func() error { return p.Delete(ctx, child) }, "TARGET_MSG DEV_STATUS"},
	} {
		rec.Take()
		if err := step.call(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := ioctls(rec); !slices.Equal(got, strings.Fields(step.want)) {
			t.Errorf("%s: %s\nwant %s", step.name, fmt.Sprint(got), step.want)
		}
	}
}
