package thinmeta_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/varve-project/varve/devmapper/pool/thinmeta"
)

// The XML of thin_dump and thin_restore, from the package
// thin-provisioning-tools: the witness for everything this package reads.
type xmlPool struct {
	XMLName     xml.Name    `xml:"superblock"`
	UUID        string      `xml:"uuid,attr"`
	Time        uint32      `xml:"time,attr"`
	Transaction uint64      `xml:"transaction,attr"`
	Flags       uint32      `xml:"flags,attr"`
	Version     uint32      `xml:"version,attr"`
	BlockSize   uint32      `xml:"data_block_size,attr"`
	Blocks      uint64      `xml:"nr_data_blocks,attr"`
	Devices     []xmlDevice `xml:"device"`
}

type xmlDevice struct {
	ID          uint32   `xml:"dev_id,attr"`
	Mapped      uint64   `xml:"mapped_blocks,attr"`
	Transaction uint64   `xml:"transaction,attr"`
	Created     uint32   `xml:"creation_time,attr"`
	Snapped     uint32   `xml:"snap_time,attr"`
	Runs        []xmlRun `xml:",any"`
}

type xmlRun struct {
	XMLName xml.Name
	Begin   uint64  `xml:"origin_begin,attr,omitempty"`
	Data    uint64  `xml:"data_begin,attr,omitempty"`
	Length  uint64  `xml:"length,attr,omitempty"`
	Block   *uint64 `xml:"origin_block,attr"`
	Single  *uint64 `xml:"data_block,attr"`
	Time    uint32  `xml:"time,attr"`
}

func (r xmlRun) run() thinmeta.Run {
	if r.XMLName.Local == "single_mapping" {
		return thinmeta.Run{Virtual: *r.Block, Data: *r.Single, Length: 1, Time: r.Time}
	}
	return thinmeta.Run{Virtual: r.Begin, Data: r.Data, Length: r.Length, Time: r.Time}
}

// xmlOf writes a run so that zeroes are written too.
func xmlOf(b *strings.Builder, r thinmeta.Run) {
	if r.Length == 1 {
		fmt.Fprintf(b, "<single_mapping origin_block=\"%d\" data_block=\"%d\" time=\"%d\"/>\n", r.Virtual, r.Data, r.Time)
		return
	}
	fmt.Fprintf(b, "<range_mapping origin_begin=\"%d\" data_begin=\"%d\" length=\"%d\" time=\"%d\"/>\n", r.Virtual, r.Data, r.Length, r.Time)
}

// pool is what a random image holds.
type pool struct {
	xmlPool
	runs map[uint32][]thinmeta.Run
}

func (p *pool) xml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "<superblock uuid=\"\" time=\"%d\" transaction=\"%d\" flags=\"%d\" version=\"2\" data_block_size=\"%d\" nr_data_blocks=\"%d\">\n",
		p.Time, p.Transaction, p.Flags, p.BlockSize, p.Blocks)
	for _, d := range p.Devices {
		fmt.Fprintf(&b, "<device dev_id=\"%d\" mapped_blocks=\"%d\" transaction=\"%d\" creation_time=\"%d\" snap_time=\"%d\">\n",
			d.ID, d.Mapped, d.Transaction, d.Created, d.Snapped)
		for _, r := range p.runs[d.ID] {
			xmlOf(&b, r)
		}
		b.WriteString("</device>\n")
	}
	b.WriteString("</superblock>\n")
	return b.String()
}

// randomRuns makes up runs that cannot be joined.
func randomRuns(rng *rand.Rand, count int, longest, blocks uint64) (runs []thinmeta.Run, mapped uint64) {
	at := rng.Uint64N(50)
	for range count {
		r := thinmeta.Run{Virtual: at, Length: 1 + rng.Uint64N(longest), Time: rng.Uint32N(1 << 24)}
		r.Data = rng.Uint64N(blocks - r.Length)
		if last := len(runs) - 1; last >= 0 && rng.IntN(4) == 0 && runs[last].Data+runs[last].Length+r.Length < blocks {
			// Right behind the last one, and different in time only.
			r.Virtual, r.Data = runs[last].Virtual+runs[last].Length, runs[last].Data+runs[last].Length
			r.Time = runs[last].Time ^ 1
			at = r.Virtual
		}
		runs = append(runs, r)
		mapped += r.Length
		at += r.Length + 1 + rng.Uint64N(100)
	}
	return runs, mapped
}

func randomPool(rng *rand.Rand, devices, runs int, longest uint64) *pool {
	p := &pool{runs: map[uint32][]thinmeta.Run{}}
	p.Time, p.Transaction = rng.Uint32N(1<<24), rng.Uint64()>>1
	p.Version, p.BlockSize, p.Blocks = 2, 128*(1+rng.Uint32N(64)), 1<<20
	id := uint32(1)
	for range devices {
		d := xmlDevice{ID: id, Transaction: rng.Uint64() >> 1, Created: rng.Uint32N(1 << 24), Snapped: rng.Uint32N(1 << 24)}
		p.runs[id], d.Mapped = randomRuns(rng, rng.IntN(runs+1), longest, p.Blocks)
		p.Devices = append(p.Devices, d)
		id += 1 + rng.Uint32N(1000)
	}
	return p
}

func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = filepath.Join("/usr/sbin", name) // not in everybody's PATH
	}
	var stderr bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s (Debian package thin-provisioning-tools): %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// restore makes an image of the pool with thin_restore.
func restore(t testing.TB, text string, size int64) string {
	t.Helper()
	in := filepath.Join(t.TempDir(), "pool.xml")
	out := filepath.Join(t.TempDir(), "pool.img")
	if err := os.WriteFile(in, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(out, size); err != nil {
		t.Fatal(err)
	}
	tool(t, "thin_restore", "-i", in, "-o", out)
	return out
}

func open(t testing.TB, path string) *thinmeta.Metadata {
	t.Helper()
	r, err := thinmeta.OpenDevice(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	m, err := thinmeta.Open(r)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func runsOf(t testing.TB, m *thinmeta.Metadata, id uint32) []thinmeta.Run {
	t.Helper()
	var runs []thinmeta.Run
	if err := m.Mappings(context.Background(), id, func(r thinmeta.Run) error {
		runs = append(runs, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return runs
}

// thin_restore makes the image, and what is read back must be what went in.
func TestAgainstThinRestore(t *testing.T) {
	for name, c := range map[string]struct {
		devices, runs int
		longest       uint64
	}{
		"empty":             {0, 0, 1},
		"one empty device":  {1, 0, 1},
		"small":             {5, 10, 50},
		"thousands":         {4000, 6, 20},
		"deep, every block": {2, 90000, 1},
		"long runs":         {3, 300, 2000},
	} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(c.devices), uint64(c.runs)))
			p := randomPool(rng, c.devices, c.runs, c.longest)
			m := open(t, restore(t, p.xml(), 64<<20))
			checkPool(t, m, p)
		})
	}
}

func checkPool(t *testing.T, m *thinmeta.Metadata, p *pool) {
	t.Helper()
	s := m.Superblock()
	if s.TransactionID != p.Transaction || s.Time != p.Time || s.DataBlockSize != p.BlockSize || s.MetadataBlockSize != 8 ||
		s.NeedsCheck || s.HeldRoot != 0 || s.Version != 2 {
		t.Errorf("superblock %+v, want that of\n%.300s", s, p.xml())
	}
	var want []thinmeta.Device
	for _, d := range p.Devices {
		want = append(want, thinmeta.Device{ID: d.ID, MappedBlocks: d.Mapped, TransactionID: d.Transaction, CreationTime: d.Created, SnapshottedTime: d.Snapped})
	}
	got, err := m.Devices(context.Background())
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%d devices, want %d (or they differ): %v", len(got), len(want), err)
	}
	used := map[uint64]bool{}
	for _, d := range want {
		if one, err := m.Device(context.Background(), d.ID); err != nil || one != d {
			t.Fatalf("device %d alone: %+v, %v", d.ID, one, err)
		}
		runs := runsOf(t, m, d.ID)
		if !reflect.DeepEqual(runs, p.runs[d.ID]) {
			t.Fatalf("device %d: %d runs, want %d (or they differ)", d.ID, len(runs), len(p.runs[d.ID]))
		}
		for _, r := range runs {
			for i := range r.Length {
				used[r.Data+i] = true
			}
		}
	}
	data, metadata, ok := m.Usage()
	if !ok || data.Total != p.Blocks || data.Used != uint64(len(used)) {
		t.Errorf("data usage %+v %v, want %d of %d", data, ok, len(used), p.Blocks)
	}
	if metadata.Total != 64<<20/blockSize || metadata.Used < 5 || metadata.Used > metadata.Total {
		t.Errorf("metadata usage %+v", metadata)
	}
}

// The tools must read the same from one image as this package.
func TestAgainstThinLsAndThinDump(t *testing.T) {
	p := randomPool(rand.New(rand.NewPCG(1, 2)), 300, 40, 30)
	path := restore(t, p.xml(), 32<<20)
	m := open(t, path)
	checkListing(t, m, tool(t, "thin_ls", "--no-headers", "-o", "DEV,MAPPED_BLOCKS,TRANSACTION,CREATE_TIME,SNAP_TIME", path))
	checkDump(t, m, tool(t, "thin_dump", path))
}

func checkListing(t *testing.T, m *thinmeta.Metadata, listing string) {
	t.Helper()
	devices, err := m.Devices(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(listing), "\n")
	if listing == "" {
		lines = nil
	}
	if len(lines) != len(devices) {
		t.Fatalf("%d devices, thin_ls has %d", len(devices), len(lines))
	}
	for i, d := range devices {
		own := fmt.Sprint(d.ID, d.MappedBlocks, d.TransactionID, d.CreationTime, d.SnapshottedTime)
		if theirs := strings.Join(strings.Fields(lines[i]), " "); own != theirs {
			t.Fatalf("device %q, thin_ls has %q", own, theirs)
		}
	}
}

func checkDump(t *testing.T, m *thinmeta.Metadata, dump string) {
	t.Helper()
	var theirs xmlPool
	if err := xml.Unmarshal([]byte(dump), &theirs); err != nil {
		t.Fatal(err)
	}
	for _, d := range theirs.Devices {
		var want []thinmeta.Run
		for _, r := range d.Runs {
			want = append(want, r.run())
		}
		if got := runsOf(t, m, d.ID); !slices.Equal(got, want) {
			t.Fatalf("device %d: runs %v, thin_dump has %v", d.ID, got, want)
		}
	}
}
