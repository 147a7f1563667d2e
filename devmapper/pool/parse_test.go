package pool

import (
	"bytes"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/dm"
)

func TestParseReport(t *testing.T) {
	for line, want := range map[string]Report{
		"0 12/4096 0/8192 - rw discard_passdown queue_if_no_space - 1024": {
			MetadataUsed: 12, MetadataTotal: 4096, DataTotal: 8192, Mode: ModeWrite, Passdown: true, MetadataLowWater: 1024},
		"7 4096/4096 8192/8192 93 ro no_discard_passdown error_if_no_space needs_check 0": {
			TransactionID: 7, MetadataUsed: 4096, MetadataTotal: 4096, DataUsed: 8192, DataTotal: 8192, HeldRoot: 93,
			Mode: ModeReadOnly, ErrorIfFull: true, NeedsCheck: true},
		"1 1/2 2/2 - out_of_data_space ignore_discard queue_if_no_space": {
			TransactionID: 1, MetadataUsed: 1, MetadataTotal: 2, DataUsed: 2, DataTotal: 2, Mode: ModeNoSpace, NoDiscard: true},
		"1 1/2 2/2 - rw a_word_of_the_future error_if_no_space - 5 also_new": {
			TransactionID: 1, MetadataUsed: 1, MetadataTotal: 2, DataUsed: 2, DataTotal: 2, Mode: ModeWrite, ErrorIfFull: true},
		"Fail":  {Mode: ModeFail},
		"Error": {Mode: ModeFail},
	} {
		got, err := ParseReport(line)
		if err != nil || got != want {
			t.Errorf("%q:\n%+v, %v, want\n%+v", line, got, err, want)
		}
	}
	for _, line := range []string{
		"", "rw", "x 1/2 1/2 - rw", "1 2/1 1/2 - rw", "1 1 1/2 - rw", "1 1/2 1/x - rw", "1 1/2 1/2 y rw",
		"1 1/2 1/2 - -", "-1 1/2 1/2 - rw", "1 1/2 1/2", "99999999999999999999 1/2 1/2 - rw",
	} {
		if r, err := ParseReport(line); err == nil {
			t.Errorf("%q: taken for %+v", line, r)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add("0 12/4096 0/8192 - rw discard_passdown queue_if_no_space - 1024")
	f.Add("Fail")
	f.Fuzz(func(t *testing.T, line string) {
		r, err := ParseReport(line)
		if err != nil {
			if !strings.Contains(err.Error(), "thin pool") {
				t.Errorf("%v: does not say of what", err)
			}
			return
		}
		if r.Mode == "" || r.DataUsed > r.DataTotal || r.MetadataUsed > r.MetadataTotal {
			t.Errorf("%q: %+v", line, r)
		}
		s := DefaultConfig().status(r, 64<<10)
		if s.Mode != r.Mode {
			t.Errorf("%q: %+v", line, s)
		}
	})
}

func TestParseWritten(t *testing.T) {
	for status, want := range map[string]uint64{"128 1023": 1024 * 512, "0 -": 0} {
		if got, err := parseWritten(status); err != nil || got != want {
			t.Errorf("%q: %d, %v", status, got, err)
		}
	}
	for _, status := range []string{"", "Fail", "1 x", "1 -5", "1 2 3", "1 36028797018963968"} {
		if got, err := parseWritten(status); err == nil {
			t.Errorf("%q: taken for %d", status, got)
		}
	}
}

func TestPoolTable(t *testing.T) {
	want := poolTable{metadata: "253:1", data: "253:0", blockBytes: 64 << 10, lowWater: 100, bytes: 10 << 20, errorIfFull: true}
	line := want.target()
	if got := line.String(); got != "0 20480 thin-pool 253:1 253:0 128 100 2 skip_block_zeroing error_if_no_space" {
		t.Error(got)
	}
	got, err := parsePoolTable([]dm.Target{line})
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	// A length that is no whole number of blocks is rounded down.
	want.bytes += 4096
	if want.target().Length != line.Length {
		t.Error(want.target())
	}
	for _, bad := range [][]dm.Target{
		nil, {{Type: "linear", Params: "8:0 0"}}, {line, line}, {{Type: "thin-pool", Params: "1:1 1:2 0 5"}},
		{{Type: "thin-pool", Params: "1:1 1:2"}}, {{Type: "thin-pool", Params: "1:1 1:2 128 x"}},
	} {
		if got, err := parsePoolTable(bad); err == nil {
			t.Errorf("%v: taken for %+v", bad, got)
		}
	}
}

func TestNames(t *testing.T) {
	n := names{pool: "01980248-fcfe-7000-8000-000000000001"}
	if got := n.thin(7); got != "varve-01980248fcfe-7" {
		t.Error(got)
	}
	for uuid, want := range map[string]struct {
		tail string
		id   ThinID
		ours bool
	}{
		n.thinUUID(7):              {"7", 7, true},
		n.thinUUID(maxID):          {"16777215", maxID, true},
		n.uuid("pool"):             {"pool", 0, true},
		n.thinUUID(7) + "-discard": {"7-discard", 0, true},
		n.uuid("007"):              {"007", 0, true},
		n.uuid("16777216"):         {"16777216", 0, true},
		names{"other"}.thinUUID(7): {"", 0, false},
		"LVM-" + n.pool:            {"", 0, false},
		"":                         {"", 0, false},
	} {
		tail, id, ours := n.parse(uuid)
		if ours != want.ours || id != want.id || ours && tail != want.tail {
			t.Errorf("%q: %q %d %v", uuid, tail, id, ours)
		}
	}
}

func TestParseLVs(t *testing.T) {
	list, err := parseLVs([]byte(`{"report":[{"lv":[
		{"lv_name":"varve-catalog","lv_uuid":"a","segtype":"linear","transaction_id":"","thin_count":"","lv_when_full":"","vg_free":"1048576"},
		{"lv_name":"varve-pool","lv_uuid":"b","segtype":"thin-pool","transaction_id":"0","thin_count":"0","lv_when_full":"queue","vg_free":"1048576"},
		{"lv_name":"used","lv_uuid":"c","segtype":"thin-pool","transaction_id":"4","thin_count":"2","lv_when_full":"error","vg_free":"1048576"}]}]}`))
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v %v", list, err)
	}
	choose := func(name, uuid string) error {
		_, err := choosePool(list, Volumes{Group: "vg", Pool: name}, record{Volume: uuid})
		return err
	}
	if err := choose("varve-pool", "b"); err != nil {
		t.Error(err)
	}
	for name, word := range map[string]string{"varve-catalog": "not a thin pool", "used": "thin volumes of LVM's own"} {
		if err := choose(name, ""); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := choose("varve-pool", "z"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("another pool's catalog: %v", err)
	}
	list[2].thins = 0
	if err := choose("used", ""); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "transaction id") {
		t.Errorf("used before: %v", err)
	}
	if err := choose("none", ""); !errdefs.IsNotFound(err) {
		t.Errorf("no such volume: %v", err)
	}
	if _, err := parseLVs([]byte(`{"report":[{"lv":[{"lv_name":"x","thin_count":"many"}]}]}`)); err == nil {
		t.Error("a count that is no number was taken")
	}
}

func TestCatalogSuper(t *testing.T) {
	image := make([]byte, 4096)
	if _, err := parseCatalogSuper(bytes.NewReader(image)); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("blank: %v", err)
	}
	if _, err := parseCatalogSuper(bytes.NewReader(image[:100])); err == nil {
		t.Error("a device of 100 bytes was taken")
	}
}
