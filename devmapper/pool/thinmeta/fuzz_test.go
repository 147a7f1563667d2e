package thinmeta_test

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzRead writes whatever it likes over an image and seals the blocks anew,
// so that what is behind the checksums gets tried. Nothing may panic, and no
// tree may cost more reads than its blocks and depth allow.
//
// The input is a row of changes of 8 bytes: block, kind of seal, offset in the
// block (two bytes), a value of 4 bytes.
func FuzzRead(f *testing.F) {
	original, _, _, _, _, _ := sample(f)
	original.hold()
	change := func(nr, seal byte, offset uint16, value uint32) []byte {
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint16([]byte{nr, seal}, offset), value)
	}
	f.Add([]byte{})
	for nr := range len(original.blocks) {
		f.Add(change(byte(nr), 0, 16, 1)) // entries
		f.Add(change(byte(nr), 0, 32, 7)) // the first key
		for target := range uint32(8) {   // the first child
			f.Add(change(byte(nr), 0, uint16(32+8*maxEntries(8)), target))
		}
	}
	f.Add(change(0, 1, 56, 0))
	f.Add(append(change(0, 1, 320, 3), change(0, 1, 328, 3)...))
	f.Fuzz(func(t *testing.T, changes []byte) {
		im := &image{}
		for _, b := range original.blocks {
			im.blocks = append(im.blocks, bytes.Clone(b))
		}
		le := binary.LittleEndian
		for ; len(changes) >= 8; changes = changes[8:] {
			nr := uint64(changes[0]) % uint64(len(im.blocks))
			offset := int(le.Uint16(changes[2:])) % (blockSize - 4)
			copy(im.blocks[nr][offset:], changes[4:8])
			salt := uint32(nodeSalt)
			if changes[1]%2 == 1 {
				salt = superSalt
			}
			if changes[1] < 128 { // else leave it broken
				im.seal(nr, salt)
			}
		}
		_ = readAll(im)
		// 1 list, 4 devices, 4 walks and 16 pairs of walks: 41 walks and
		// fewer than 50 look-ups, each of at most all blocks once a level.
		if most := 100 * 17 * len(im.blocks); im.reads > most {
			t.Errorf("%d reads, want at most %d", im.reads, most)
		}
	})
}

// FuzzSuperblock gives whole blocks, without any seal of ours.
func FuzzSuperblock(f *testing.F) {
	original, _, _, _, _, _ := sample(f)
	f.Add(original.blocks[0])
	f.Add([]byte{})
	f.Add(make([]byte, 3*blockSize))
	f.Fuzz(func(_ *testing.T, data []byte) {
		im := &image{}
		for len(data) > 0 {
			b := make([]byte, blockSize)
			data = data[copy(b, data):]
			im.blocks = append(im.blocks, b)
		}
		_ = readAll(im)
	})
}
