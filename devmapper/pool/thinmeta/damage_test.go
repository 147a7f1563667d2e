package thinmeta_test

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/varve-project/varve/devmapper/pool/thinmeta"
)

// readAll calls everything there is and returns the first error.
func readAll(im *image) error {
	ctx := context.Background()
	m, err := thinmeta.Open(im)
	if err != nil {
		return err
	}
	if m.Superblock().HeldRoot != 0 {
		if m, err = m.Held(); err != nil {
			return err
		}
	}
	m.Usage()
	if _, err := m.Devices(ctx); err != nil {
		return err
	}
	for id := range uint32(4) {
		_, _ = m.Device(ctx, id)
		if err := m.Mappings(ctx, id, func(thinmeta.Run) error { return nil }); errors.Is(err, thinmeta.ErrCorrupt) {
			return err
		}
	}
	for older := range uint32(4) {
		for newer := range uint32(4) {
			if err := m.Changes(ctx, older, newer, func(thinmeta.Change) error { return nil }); errors.Is(err, thinmeta.ErrCorrupt) {
				return err
			}
		}
	}
	return nil
}

// sample is a small image with everything in it, and the blocks of interest.
func sample(t testing.TB) (im *image, upper, details, root, inner, leaf uint64) {
	t.Helper()
	im = newImage()
	root = im.tree(base(100), 8, 5)
	im.devices(map[uint32]uint64{1: root, 2: im.edit(t, root, 33, mapping(9, 9)), 3: im.tree(nil, 8, 3)})
	first := func(nr uint64) uint64 {
		_, entries, _ := im.readNode(nr)
		return binary.LittleEndian.Uint64(entries[0].value)
	}
	le := binary.LittleEndian
	return im, le.Uint64(im.blocks[0][320:]), le.Uint64(im.blocks[0][328:]), root, first(root), first(first(root))
}

func TestDamage(t *testing.T) {
	if im, _, _, _, _, _ := sample(t); readAll(im) != nil {
		t.Fatal("the sample itself cannot be read: ", readAll(im))
	}
	for want, hurt := range map[string]func(im *image, upper, details, root, inner, leaf uint64){
		"no pool was ever made here":     func(im *image, _, _, _, _, _ uint64) { clear(im.blocks[0]) },
		"has magic 1, want 27022010":     func(im *image, _, _, _, _, _ uint64) { im.put(0, 32, 1, superSalt) },
		"superblock has checksum":        func(im *image, _, _, _, _, _ uint64) { im.blocks[0][400]++ },
		"superblock says that it":        func(im *image, _, _, _, _, _ uint64) { im.put(0, 8, 5, superSalt) },
		"version 3":                      func(im *image, _, _, _, _, _ uint64) { im.put32(0, 40, 3, superSalt) },
		"incompatible features 0x4":      func(im *image, _, _, _, _, _ uint64) { im.put32(0, 360, 4, superSalt) },
		"data blocks of 100 sectors":     func(im *image, _, _, _, _, _ uint64) { im.put32(0, 336, 100, superSalt) },
		"metadata blocks of 16 sectors":  func(im *image, _, _, _, _, _ uint64) { im.put32(0, 340, 16, superSalt) },
		"root beyond the largest":        func(im *image, _, _, _, _, _ uint64) { im.put(0, 320, 1<<40, superSalt) },
		"tree at block 0":                func(im *image, _, _, _, _, _ uint64) { im.put(0, 328, 0, superSalt) },
		"beyond the end of the metadata": func(im *image, _, _, root, _, _ uint64) { im.put(root, 32+8*maxEntries(8), 4000, nodeSalt) },
		"beyond the largest metadata":    func(im *image, _, _, root, _, _ uint64) { im.put(root, 32+8*maxEntries(8), 1<<60, nodeSalt) },
		"metadata snapshot: ":            func(im *image, _, _, root, _, _ uint64) { im.put(0, 56, root, superSalt) },
		"tree node has checksum":         func(im *image, _, _, _, _, leaf uint64) { im.blocks[leaf][4000]++ },
		"tree node says that it belongs": func(im *image, _, _, _, _, leaf uint64) { im.put(leaf, 8, 77, nodeSalt) },
		"neither leaf nor internal":      func(im *image, _, _, _, _, leaf uint64) { im.put32(leaf, 4, 3, nodeSalt) },
		"values of 24 bytes, want 8":     func(im *image, _, _, _, _, leaf uint64) { im.put32(leaf, 24, 24, nodeSalt) },
		"values of 8 bytes, want 24":     func(im *image, upper, _, _, _, _ uint64) { im.put(0, 328, upper, superSalt) },
		"room for 4294967295 entries":    func(im *image, _, _, _, _, leaf uint64) { im.put32(leaf, 20, 1<<32-1, nodeSalt) },
		"253 entries and room for 252":   func(im *image, _, _, _, _, leaf uint64) { im.put32(leaf, 16, 253, nodeSalt) },
		"tree node is empty":             func(im *image, _, _, _, _, leaf uint64) { im.put32(leaf, 16, 0, nodeSalt) },
		"key 0 after key 0":              func(im *image, _, _, _, _, leaf uint64) { im.put(leaf, 40, 0, nodeSalt) },
		"outside of what its parent":     func(im *image, _, _, _, _, leaf uint64) { im.put(leaf, 32+8*4, 1000, nodeSalt) },
		"where the tree's first leaf lies 1": func(im *image, _, _, root, _, leaf uint64) {
			im.put(root, 32+8*maxEntries(8), leaf, nodeSalt)
		},
		"deeper than 16 levels": func(im *image, _, _, _, inner, _ uint64) {
			im.put32(inner, 16, 1, nodeSalt) // its only child is itself
			im.put(inner, 32+8*maxEntries(8), inner, nodeSalt)
		},
		"ids end at 16777215": func(im *image, _, details, _, _, _ uint64) { im.put(details, 32+8*2, 1<<24, nodeSalt) },
	} {
		im, upper, details, root, inner, leaf := sample(t)
		hurt(im, upper, details, root, inner, leaf)
		err := readAll(im)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
			continue
		}
		newer := strings.HasPrefix(want, "version") || strings.HasPrefix(want, "incompatible")
		if errors.Is(err, thinmeta.ErrCorrupt) == newer {
			t.Errorf("%v: damage and a newer layout are not told apart", err)
		}
	}
}

// A read that fails is no damage.
func TestReadError(t *testing.T) {
	broken := errors.New("the disk is gone")
	if _, err := thinmeta.Open(failing{broken}); !errors.Is(err, broken) || errors.Is(err, thinmeta.ErrCorrupt) {
		t.Errorf("Open: %v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// A superblock caught half written is read again.
func TestTornSuperblock(t *testing.T) {
	im, _, _, _, _, _ := sample(t)
	torn := &tearing{image: im, times: 2}
	if _, err := thinmeta.Open(torn); err != nil {
		t.Error(err)
	}
	torn.times = 3
	if _, err := thinmeta.Open(torn); !errors.Is(err, thinmeta.ErrCorrupt) {
		t.Errorf("a superblock that stays bad: %v", err)
	}
}

type tearing struct {
	*image
	times int
}

func (r *tearing) ReadAt(p []byte, offset int64) (int, error) {
	n, err := r.image.ReadAt(p, offset)
	if r.times > 0 {
		r.times--
		p[300]++
	}
	return n, err
}
