package setup

import (
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name                   string
		total, chunk, metadata uint64
		wantChunk, wantMeta    uint64
	}{
		{"a small disk", 3 * gib, 0, 0, 64 * kib, 16 * mib},
		{"100 GiB", 100 * gib, 0, 0, 64 * kib, 152 * mib},
		{"10 TiB", 10 * tib, 0, 0, 64 * kib, 15 * gib},
		{"20 TiB takes larger chunks", 20 * tib, 0, 0, 128 * kib, 15 * gib},
		{"1 PiB", 1024 * tib, 0, 0, 8 * mib, 12 * gib},
		{"as asked", 100 * gib, 512 * kib, 64 * mib, 512 * kib, 64 * mib},
	} {
		s, err := Choose(c.total, c.chunk, c.metadata)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if s.Chunk != c.wantChunk || s.Metadata != c.wantMeta {
			t.Errorf("%s: chunk %s metadata %s, want %s and %s", c.name, Bytes(s.Chunk), Bytes(s.Metadata), Bytes(c.wantChunk), Bytes(c.wantMeta))
		}
		if s.Metadata > maxMetadata || s.Metadata < kernelEstimate(c.total, s.Chunk) || len(s.Reasons) != 3 {
			t.Errorf("%s: %+v breaks the kernel's rules, or gives no reasons", c.name, s)
		}
	}
}

func TestChooseRefuses(t *testing.T) {
	for _, c := range []struct {
		total, chunk, metadata uint64
		flag                   string
	}{
		{gib, 32 * kib, 0, "--chunk-size 32 KiB"},
		{gib, 2 * gib, 0, "--chunk-size 2 GiB"},
		{gib, 96 * kib, 0, "--chunk-size 96 KiB"},
		{100 * tib, 64 * kib, 0, "--chunk-size 64 KiB"},
		{gib, 0, mib, "--metadata-size 1 MiB"},
		{100 * gib, 0, 8 * mib, "--metadata-size 8 MiB"},
		{gib, 0, 16 * gib, "--metadata-size 16 GiB"},
	} {
		_, err := Choose(c.total, c.chunk, c.metadata)
		if err == nil || !strings.HasPrefix(err.Error(), c.flag) {
			t.Errorf("%+v: error %v, want one that names %s", c, err, c.flag)
		}
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "512": 512, "64K": 64 * kib, "64KiB": 64 * kib, "1.5G": 3 * gib / 2, "2tb": 2 * tib, "10 M": 10 * mib} {
		var b Bytes
		if err := b.Set(text); err != nil || uint64(b) != want {
			t.Errorf("%q is %d, %v; want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "G", "-1G", "1X", "1GG", "NaN", "1e30", "0x10"} {
		var b Bytes
		if err := b.Set(text); err == nil {
			t.Errorf("%q passes as %d", text, b)
		}
	}
	var c Change
	if err := c.Set("+10G"); err != nil || c.from(gib) != 11*gib {
		t.Errorf("+10G of 1 GiB is %d, %v", c.from(gib), err)
	}
	if err := c.Set("10G"); err != nil || c.from(gib) != 10*gib {
		t.Errorf("10G is %d, %v", c.from(gib), err)
	}
}
