package devmapper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/varve-project/varve/devmapper/format"
	"github.com/varve-project/varve/internal/loop"
	"github.com/varve-project/varve/internal/mount"
)

// TestMeasure: what a snapshot holds is the same whether its file system is
// mounted or not, and whatever its size, on loop devices.
func TestMeasure(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, fsType := range format.Types() {
		t.Run(fsType, func(t *testing.T) {
			const size = 400 << 20
			image := filepath.Join(t.TempDir(), "image")
			check(t, errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size)))
			l, err := loop.Attach(t.Context(), image, loop.Options{})
			check(t, err)
			t.Cleanup(func() { check(t, loop.Detach(context.Background(), l)) })
			d := device{FSType: fsType, Bytes: size}
			check(t, format.Make(t.Context(), format.Spec{FSType: fsType, Bytes: size}, l.Path))
			check(t, finish(l.Path, &d))
			d.Base = d.Held
			compareBoth(t, "a new file system", l.Path, d, fill{})
			put20(t, l.Path, fsType)
			compareBoth(t, "20 files", l.Path, d, fill{20 * mib, 20})

			d.Bytes = 2 * size
			check(t, errors.Join(os.Truncate(image, d.Bytes), loop.Resize(l.Path)))
			grown, err := growNew(l.Path, d)
			if errors.Is(err, mount.ErrGrowOffline) {
				return // this process may not; in the virtual machine it may
			}
			check(t, err)
			compareBoth(t, "after it grew", l.Path, grown, fill{})
			d = grown
			d.Bytes = 3 * size
			check(t, errors.Join(os.Truncate(image, d.Bytes), loop.Resize(l.Path)))
			d, err = growLive(l.Path, d)
			check(t, err)
			compareBoth(t, "after it grew again", l.Path, d, fill{})
		})
	}
}

const mib = 1 << 20

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put20 writes 20 files of a MiB.
func put20(t *testing.T, path, fsType string) {
	t.Helper()
	tree, err := open(path, fsType)
	check(t, err)
	for i := range 20 {
		f, err := os.Create(filepath.Join(tree.Path(), fmt.Sprint(i)))
		check(t, err)
		_, err = f.Write(make([]byte, mib))
		check(t, errors.Join(err, f.Sync(), f.Close()))
	}
	check(t, tree.Close())
}

// compareBoth measures in both ways. A few blocks of the file system's own
// trees may be between them.
func compareBoth(t *testing.T, what, path string, d device, want fill) {
	t.Helper()
	const slack = 256 << 10
	verify := func(how string, held fill, err error) {
		t.Helper()
		own := fill{held.Bytes - d.Base.Bytes, held.Inodes - d.Base.Inodes}
		if err != nil || own.Inodes != want.Inodes || own.Bytes < want.Bytes-slack || own.Bytes > want.Bytes+slack {
			t.Errorf("%s, %s: %+v (%v), want %+v", what, how, own, err, want)
		}
	}
	_, held, err := onDisk(path, d.FSType)
	verify("not mounted", held, err)
	tree, err := mount.Detached(path, d.FSType, false, fileSystemOptions(d.FSType)...)
	check(t, err)
	if here, err := mountedHere(path, d.FSType); err != nil || !here {
		t.Errorf("mountedHere: %t, %v", here, err)
	}
	held, err = live(path, d)
	verify("mounted", held, err)
	check(t, tree.Close())
	if here, err := mountedHere(path, d.FSType); err != nil || here {
		t.Errorf("mountedHere after the unmount: %t, %v", here, err)
	}
	// Of one that its user has mounted read-only as well.
	ro, err := mount.Detached(path, d.FSType, true, fileSystemOptions(d.FSType)...)
	check(t, err)
	held, err = live(path, d)
	verify("mounted read-only", held, err)
	check(t, ro.Close())
}
