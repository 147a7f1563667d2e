package pool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/devmapper/pool/guard"
	"github.com/varve-project/varve/internal/service"
)

// watch starts the pool's guardian; close it before the pool.
func watch(t *testing.T, p *pool.Pool) (g *guard.Guard, end func()) {
	t.Helper()
	g, err := p.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return g, func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}

// eventually asks until it is so.
func eventually(t *testing.T, within time.Duration, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// bystander is how long emulation and neighbours may hold up what is bounded.
const bystander = 15 * time.Second

// pour writes n mebibytes of something, past the page cache.
func pour(t *testing.T, path string, n int) error {
	t.Helper()
	return writer(t, path, n).Wait()
}

// TestGuardianFloor: a pool that is written to its floor admits nothing, and
// says why; writes beyond go on until it is full and then fail; a deletion
// mends all of it.
func TestGuardianFloor(t *testing.T) {
	l := newLab(t, 64*mib, 16*mib)
	l.config.MinFreeData = 40
	p := l.open()
	defer l.close(p)
	g, end := watch(t, p)
	defer end()
	ctx := t.Context()
	if err := p.Admit(); err != nil {
		t.Fatal(err)
	}
	id, path := l.thin(p, 128*mib)
	// 48 MiB of data, 40% kept free: 28.8 MiB may be used. The event comes at
	// the low-water mark, the fast clock sees the rest.
	if err := pour(t, path, 32); err != nil {
		t.Fatal(err)
	}
	eventually(t, bystander, "refusal below the floor", func() bool { return p.Admit() != nil })
	want(t, "Admit", p.Admit(), errdefs.IsResourceExhausted, "pool "+l.data.Path, "data space", "% used", "min_free_data = 40", "`varve-devmapper pool extend")
	if err := pour(t, path, 40); err != nil {
		t.Errorf("what runs goes on below the floor: %v", err)
	}
	if err := pour(t, path, 60); err == nil {
		t.Error("60 MiB went into a pool of 48 MiB")
	}
	eventually(t, bystander, "finding of a full pool", func() bool { return has(g, guard.DataFull) })
	if err := errors.Join(p.Deactivate(ctx, id, false), p.Delete(ctx, id)); err != nil {
		t.Fatal(err)
	}
	eventually(t, bystander, "admission after the deletion", func() bool { return p.Admit() == nil && len(g.Findings()) == 0 })
	if s, err := p.Status(ctx); err != nil || s.Mode != pool.ModeWrite {
		t.Errorf("status %+v, %v", s, err)
	}
}

func has(g *guard.Guard, id string) bool {
	for _, f := range g.Findings() {
		if f.ID == id {
			return true
		}
	}
	return false
}

// writer fills a device from a process of its own, for it may come to sleep
// where no signal reaches it.
func writer(t *testing.T, path string, mibs int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("dd", "if=/dev/zero", "of="+path, "bs=1M", fmt.Sprintf("count=%d", mibs), "oflag=direct")
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// asleep tells whether a process sleeps uninterruptibly.
func asleep(t *testing.T, cmd *exec.Cmd) bool {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "D")
}

// TestGuardianEndsQueue: who waits for space waits for as long as was said,
// whatever the kernel's own parameter says.
func TestGuardianEndsQueue(t *testing.T) {
	l := newLab(t, 64*mib, 16*mib)
	const queueFor = 4 * time.Second
	l.config.OutOfSpace, l.config.QueueFor = "queue", service.Duration(queueFor)
	p := l.open()
	defer l.close(p)
	g, end := watch(t, p)
	defer end()
	ctx := t.Context()
	id, path := l.thin(p, 128*mib)
	if s, err := p.Status(ctx); err != nil || s.OutOfSpace != "queue" {
		t.Fatalf("status %+v, %v", s, err)
	}
	cmd := writer(t, path, 100)
	eventually(t, time.Minute, "the pool is full", func() bool { return g.View().Mode == guard.OutOfData })
	full := time.Now()
	eventually(t, queueFor, "the writer sleeps uninterruptibly", func() bool { return asleep(t, cmd) })
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		took := time.Since(full)
		if err == nil {
			t.Error("100 MiB went into a pool of 48 MiB")
		}
		if took < queueFor-time.Second {
			t.Errorf("the writer got its error after %s, and may wait for %s", took, queueFor)
		}
		t.Logf("the writer waited %s", took)
	case <-time.After(queueFor + bystander):
		t.Fatal("the writer still waits")
	}
	if err := errors.Join(p.Deactivate(ctx, id, false), p.Delete(ctx, id)); err != nil {
		t.Fatal(err)
	}
	eventually(t, bystander, "the queue is restored", func() bool {
		s, err := p.Status(ctx)
		return err == nil && s.OutOfSpace == "queue" && s.Mode == pool.ModeWrite
	})
}

// lvmLab makes a volume group on a loop device, with a pool and its catalog.
func lvmLab(t *testing.T, disk, data int64) (l *lab, group string) {
	t.Helper()
	l = &lab{t: t, ctl: needDM(t), uuid: pool.NewUUID()}
	if _, err := exec.LookPath("lvm"); err != nil {
		t.Fatal("lvm is not installed (Debian package lvm2)")
	}
	dir := t.TempDir()
	l.directory = filepath.Join(dir, "state")
	d := l.loop(filepath.Join(dir, "disk"), disk)
	group = "varve" + strings.ReplaceAll(l.uuid, "-", "")[:8]
	l.lvmNow("vgcreate", group, d.Path)
	t.Cleanup(func() { l.lvmNow("vgremove", "--force", group) })
	t.Cleanup(l.clear)
	l.lvmNow("lvcreate", "--type", "thin-pool", "--name", pool.PoolVolume, "--size", fmt.Sprintf("%db", data),
		"--poolmetadatasize", "4m", "--chunksize", "64k", "--zero", "n", group)
	l.lvmNow("lvcreate", "--name", pool.CatalogVolume, "--size", "16m", group)
	volume := l.lvmNow("lvs", "--noheadings", "--options", "lv_uuid", group+"/"+pool.PoolVolume)
	err := pool.FormatCatalog(t.Context(), pool.Identity{
		UUID: l.uuid, Node: "/dev/mapper/" + group + "-varve--catalog", Bytes: 16 * mib, BlockBytes: 64 << 10, Volume: strings.TrimSpace(volume),
	})
	if err != nil {
		t.Fatal(err)
	}
	l.config = pool.DefaultConfig()
	l.config.VolumeGroup = group
	return l, group
}

// lvmNow is lvm also in a clean-up, and returns standard output alone.
func (l *lab) lvmNow(args ...string) string {
	l.t.Helper()
	if _, err := os.Stat("/run/udev/control"); err != nil {
		args = append(args, "--config", "activation{udev_sync=0 udev_rules=0} devices{obtain_device_list_from_udev=0}")
	}
	cmd := exec.Command("lvm", append(args, "--yes")...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		l.t.Errorf("lvm %s: %v\n%s", strings.Join(args, " "), err, complaint.String())
	}
	return string(out)
}

// TestGuardianExtends: a pool whose group has room grows before it is full,
// its metadata too; one that was full goes on, and who waited loses nothing.
func TestGuardianExtends(t *testing.T) {
	l, group := lvmLab(t, 320*mib, 32*mib)
	l.config.OutOfSpace, l.config.QueueFor, l.config.ExtendBy = "queue", service.Duration(time.Minute), 50
	p := l.open()
	defer l.close(p)
	g, end := watch(t, p)
	defer end()
	_, path := l.thin(p, 512*mib)
	if err := pour(t, path, 27); err != nil { // 84% of 32 MiB
		t.Fatal(err)
	}
	eventually(t, time.Minute, "an extension of the data", func() bool { return g.View().Data.Total >= 48*mib && p.Admit() == nil })
	// Faster than any guardian: the pool is full, the writer waits, and is
	// served by extension after extension.
	if err := pour(t, path, 80); err != nil {
		t.Errorf("a writer that waited for an extension: %v", err)
	}
	eventually(t, time.Minute, "kernel and LVM agree", func() bool {
		v, err := g.Look(t.Context())
		total := l.lvmNow("lvs", "--noheadings", "--units", "b", "--nosuffix", "--options", "lv_size", group+"/"+pool.PoolVolume)
		return err == nil && v.Data.Total > 100*mib && v.Mode == guard.Write && strings.TrimSpace(total) == fmt.Sprint(v.Data.Total)
	})
	// With the last room gone the pool comes to its floor.
	l.lvmNow("lvcreate", "--name", "filler", "--extents", "100%FREE", group)
	v, err := g.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := pour(t, path, int(v.Data.Total*95/100/mib)); err != nil {
		t.Error(err)
	}
	eventually(t, bystander, "refusal", func() bool { return p.Admit() != nil })
	want(t, "Admit", p.Admit(), errdefs.IsResourceExhausted, group+"/varve-pool", "`varve-devmapper pool extend --data-size +")
	// Room comes, by hand.
	l.lvmNow("lvremove", "--force", group+"/filler")
	l.lvmNow("lvextend", "--size", "+64m", group+"/"+pool.PoolVolume)
	eventually(t, bystander, "admission after an extension by hand", func() bool { return p.Admit() == nil })
}

// TestGuardianExtendsMetadata: who asks before creating is refused at the
// floor, not surprised by a read-only pool, and admitted when the guardian has
// extended the metadata; who does not ask fills them, and the guardian brings
// the pool back.
func TestGuardianExtendsMetadata(t *testing.T) {
	l, group := lvmLab(t, 128*mib, 32*mib)
	p := l.open()
	defer l.close(p)
	g, end := watch(t, p)
	defer end()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	refused := 0
	for before := g.View().Metadata.Total; g.View().Metadata.Total == before; {
		if ctx.Err() != nil {
			t.Fatalf("metadata %+v", g.View().Metadata)
		}
		if err := p.Admit(); err != nil {
			want(t, "Admit", err, errdefs.IsResourceExhausted, "metadata space", "min_free_metadata = 10", "`varve-devmapper pool extend --metadata-size +")
			refused++
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if err := p.Create(ctx, l.newID(p)); err != nil {
			t.Fatalf("metadata %+v: %v", g.View().Metadata, err)
		}
	}
	t.Logf("refused %d times", refused)
	l.lvmNow("lvcreate", "--name", "filler", "--extents", "100%FREE", group)
	for {
		if err := p.Create(ctx, l.newID(p)); err != nil {
			want(t, "create in full metadata", err, errdefs.IsUnavailable, "pool extend")
			break
		}
	}
	eventually(t, bystander, "finding of full metadata", func() bool { return has(g, guard.MetadataFull) })
	l.lvmNow("lvremove", "--force", group+"/filler")
	eventually(t, 2*time.Minute, "the pool is back", func() bool {
		v := g.View()
		return v.Mode == guard.Write && !v.NeedsCheck && p.Admit() == nil
	})
	if err := p.Create(ctx, l.newID(p)); err != nil {
		t.Error(err)
	}
}
