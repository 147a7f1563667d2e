package pool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/loop"
	"github.com/varve-project/varve/internal/mount"
)

const mib = 1 << 20

// suspendNow suspends whatever the state of what lies below.
var suspendNow = dm.SuspendOptions{NoFlush: true, SkipLockFS: true}

// lab is a bare pool on two loop devices, as large as a test asks.
type lab struct {
	t              *testing.T
	uuid           string
	data, metadata loop.Device
	files          [2]string
	config         pool.Config
	directory      string
	ctl            *dm.Control
}

// needDM skips where no thin pool can be made at all.
func needDM(t *testing.T) *dm.Control {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ctl, err := dm.Open(dm.WithoutScan())
	if errdefs.IsNotImplemented(err) {
		t.Skip("kernel lacks: device-mapper")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ctl.Close() })
	if _, err := ctl.TargetVersion("thin-pool"); errdefs.IsNotImplemented(err) {
		t.Skip("kernel lacks: the thin-pool target of device-mapper")
	} else if err != nil {
		t.Fatal(err)
	}
	return ctl
}

// newLab makes a pool; with a uuid when that matters.
func newLab(t *testing.T, dataBytes, metadataBytes int64, uuid ...string) *lab {
	t.Helper()
	l := &lab{t: t, ctl: needDM(t), uuid: pool.NewUUID()}
	if len(uuid) > 0 {
		l.uuid = uuid[0]
	}
	dir := t.TempDir()
	l.directory = filepath.Join(dir, "state")
	l.data = l.loop(filepath.Join(dir, "data"), dataBytes)
	l.metadata = l.loop(filepath.Join(dir, "metadata"), metadataBytes)
	l.files = [2]string{filepath.Join(dir, "data"), filepath.Join(dir, "metadata")}
	l.config = pool.Config{
		DataDevice: l.data.Path, MetadataDevice: l.metadata.Path,
		MinFreeData: 10, MinFreeMetadata: 10, OutOfSpace: "error",
	}
	t.Cleanup(l.clear) // before the loop devices go
	l.format()
	return l
}

func (l *lab) format() {
	l.t.Helper()
	err := pool.FormatCatalog(l.t.Context(), pool.Identity{
		UUID: l.uuid, Node: l.data.Path, Bytes: 16 * mib, BlockBytes: 64 << 10,
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) loop(path string, bytes int64) loop.Device {
	l.t.Helper()
	f, err := os.Create(path)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(bytes), f.Close()); err != nil {
		l.t.Fatal(err)
	}
	d, err := loop.Attach(l.t.Context(), path, loop.Options{})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := loop.Detach(context.Background(), d); err != nil {
			l.t.Error(err)
		}
	})
	return d
}

// open opens the pool; the test's end closes it.
func (l *lab) open(o ...func(*pool.Options)) *pool.Pool {
	l.t.Helper()
	p, err := l.tryOpen(o...)
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

func (l *lab) tryOpen(o ...func(*pool.Options)) (*pool.Pool, error) {
	opts := pool.Options{Directory: l.directory, Control: l.ctl}
	for _, f := range o {
		f(&opts)
	}
	return pool.Open(l.t.Context(), l.config, opts)
}

// devices lists the pool's own device-mapper devices by the ends of their
// uuids.
func (l *lab) devices() map[string]dm.Info {
	l.t.Helper()
	all, err := l.ctl.List()
	if err != nil {
		l.t.Fatal(err)
	}
	found := map[string]dm.Info{}
	for _, e := range all {
		tail, ours := strings.CutPrefix(e.UUID, "VARVE-"+l.uuid+"-")
		if !ours {
			continue
		}
		info, err := l.ctl.Stat(e.Name)
		if err != nil {
			l.t.Fatal(err)
		}
		found[tail] = info
	}
	return found
}

// clear takes the whole pool apart.
func (l *lab) clear() {
	_ = mount.Unmount(filepath.Join(l.directory, "catalog"))
	found := l.devices()
	var tails []string
	for tail := range found {
		tails = append(tails, tail)
	}
	order := []string{"pool", "data", "catalog"}
	slices.SortFunc(tails, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
	for _, tail := range tails {
		info := found[tail]
		if info.Suspended && info.Live {
			_ = l.ctl.Resume(info.Name)
		}
		if err := l.remove(info.Name); err != nil {
			l.t.Errorf("clear: %v", err)
		}
	}
}

func (l *lab) remove(name string) error {
	var err error
	for range 20 {
		if err = l.ctl.Remove(name); err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

func (l *lab) close(p *pool.Pool) {
	l.t.Helper()
	if err := p.Close(); err != nil {
		l.t.Fatal(err)
	}
}

// thin makes an active thin device.
func (l *lab) thin(p *pool.Pool, bytes uint64) (pool.ThinID, string) {
	l.t.Helper()
	id := l.create(p)
	path, err := p.Activate(l.t.Context(), id, pool.Activation{Bytes: bytes})
	if err != nil {
		l.t.Fatal(err)
	}
	return id, path
}

func (l *lab) newID(p *pool.Pool) pool.ThinID {
	l.t.Helper()
	id, err := p.NewID(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return id
}

func (l *lab) create(p *pool.Pool) pool.ThinID {
	l.t.Helper()
	id := l.newID(p)
	if err := p.Create(l.t.Context(), id); err != nil {
		l.t.Fatal(err)
	}
	return id
}

// thins lists the pool's thin ids.
func (l *lab) thins(p *pool.Pool) []pool.ThinID {
	l.t.Helper()
	list, err := p.Thins(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	ids := []pool.ThinID{}
	for _, t := range list {
		ids = append(ids, t.ID)
	}
	return ids
}

func write(t *testing.T, path string, at int64, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 4096)
	copy(block, text)
	_, err = f.WriteAt(block, at)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string, at int64, n int) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func want(t *testing.T, what string, err error, is func(error) bool, words ...string) {
	t.Helper()
	if !is(err) {
		t.Fatalf("%s: %v: wrong kind of error", what, err)
	}
	for _, w := range words {
		if !strings.Contains(fmt.Sprint(err), w) {
			t.Errorf("%s: %v: does not say %q", what, err, w)
		}
	}
}

// attach makes a loop device that stays.
func attach(t *testing.T, path string) string {
	t.Helper()
	d, err := loop.Attach(t.Context(), path, loop.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d.Path
}

// detachAll detaches every file of a loop directory.
func detachAll(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{pool.LoopData, pool.LoopMetadata, pool.LoopCatalog} {
		found, err := loop.Find(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range found {
			if err := loop.Detach(context.Background(), d); err != nil {
				t.Error(err)
			}
		}
	}
}
