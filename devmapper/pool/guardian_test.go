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

// watch starts the pool's guardian; the test's end closes it.
func watch(t *testing.T, p *pool.Pool) *guard.Guard {
	t.Helper()
	g, err := p.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
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

// TestGuardianFloor: a pool that is written to its floor admits nothing, and
// says why; writes beyond go on until it is full and then fail; a deletion
// mends all of it.
func TestGuardianFloor(t *testing.T) {
	l := newLab(t, 128*mib, 16*mib)
	l.config.MinFreeData = 40
	p := l.open()
	defer l.close(p)
	g := watch(t, p)
	defer g.Close()
	ctx := t.Context()
	if err := p.Admit(); err != nil {
		t.Fatal(err)
	}
	id, path := l.thin(p, 256*mib)
	// 112 MiB of data, 40% kept free: 67.2 MiB may be used. The event comes at
	// the low-water mark, the fast clock sees the rest.
	if err := fillUp(t, path, 70*mib); err != nil {
		t.Fatal(err)
	}
	eventually(t, bystander, "refusal below the floor", func() bool { return p.Admit() != nil })
	want(t, "Admit", p.Admit(), errdefs.IsResourceExhausted, "pool "+l.data.Path, "data space", "% used", "min_free_data = 40", "`varve-devmapper pool extend")
	if err := fillUp(t, path, 100*mib); err != nil {
		t.Logf("100 MiB: %v", err) // 112 MiB of data hold it
	}
	began := time.Now()
	if err := fillUp(t, path, 140*mib); err == nil {
		t.Error("140 MiB went into a pool of 112 MiB")
	}
	t.Logf("the write beyond failed after %s", time.Since(began))
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
	cmd := exec.Command("dd", "if=/dev/urandom", "of="+path, "bs=1M", fmt.Sprintf("count=%d", mibs), "oflag=direct")
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
	g := watch(t, p)
	defer g.Close()
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
	l, group := lvmLab(t, 512*mib, 64*mib)
	l.config.OutOfSpace, l.config.QueueFor = "queue", service.Duration(time.Minute)
	p := l.open()
	defer l.close(p)
	g := watch(t, p)
	defer g.Close()
	ctx := t.Context()
	_, path := l.thin(p, 1024*mib)
	if err := fillUp(t, path, 54*mib); err != nil { // 84% of 64 MiB
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, "an extension of the data", func() bool { return g.View().Data.Total >= 76*mib && p.Admit() == nil })
	// Faster than any guardian: the pool is full, the writer waits, and is
	// served by extension after extension.
	cmd := writer(t, path, 140)
	if err := cmd.Wait(); err != nil {
		t.Errorf("a writer that waited for an extension: %v", err)
	}
	v, err := g.Look(ctx)
	if err != nil || v.Data.Total < 140*mib || v.Mode != guard.Write {
		t.Errorf("view %+v, %v", v, err)
	}
	if total := strings.TrimSpace(l.lvmNow("lvs", "--noheadings", "--units", "b", "--nosuffix", "--options", "lv_size", group+"/"+pool.PoolVolume)); total != fmt.Sprint(v.Data.Total) {
		t.Errorf("LVM says that the pool has %s bytes, the kernel %d", total, v.Data.Total)
	}
	fillMetadata(t, l, p, g)
	// With the last room gone a writer gets its error, and new ones a refusal.
	l.lvmNow("lvcreate", "--name", "filler", "--extents", "100%FREE", group)
	began := time.Now()
	_ = writer(t, path, 900).Wait()
	t.Logf("the writer without room ended after %s", time.Since(began))
	eventually(t, bystander, "refusal", func() bool { return p.Admit() != nil })
	want(t, "Admit", p.Admit(), errdefs.IsResourceExhausted, group+"/varve-pool", "vgextend "+group)
	// Room comes, by hand.
	l.lvmNow("lvremove", "--force", group+"/filler")
	l.lvmNow("lvextend", "--size", "+100m", group+"/"+pool.PoolVolume)
	eventually(t, bystander, "admission after an extension by hand", func() bool { return p.Admit() == nil })
}

// fillMetadata makes thin devices until the guardian has extended the metadata.
func fillMetadata(t *testing.T, l *lab, p *pool.Pool, g *guard.Guard) {
	t.Helper()
	before := g.View().Metadata
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for g.View().Metadata.Total == before.Total {
		if ctx.Err() != nil {
			t.Fatalf("metadata %+v, were %+v", g.View().Metadata, before)
		}
		for range 100 {
			if err := p.Create(ctx, l.newID(p)); err != nil {
				t.Fatalf("metadata %+v: %v", g.View().Metadata, err)
			}
		}
	}
}
