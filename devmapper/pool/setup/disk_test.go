package setup

import (
	"strings"
	"testing"
)

func blank() Disk { return Disk{Path: "/dev/sdb", Node: "/dev/sdb", Number: "8:16", Bytes: 10 * gib} }

func TestRefuse(t *testing.T) {
	d := blank()
	if err := d.refuse(gib, nil); err != nil {
		t.Fatalf("a blank disk: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*Disk)
		says   string
		forced bool // --force-wipe helps
	}{
		"file system":        {func(d *Disk) { d.Signatures = []Signature{{Type: "ext4"}, {Type: "ext4"}} }, "the signature of ext4;", true},
		"partition table":    {func(d *Disk) { d.Signatures = []Signature{{Type: "gpt"}}; d.Partitions = []string{"/dev/sdb1"} }, "/dev/sdb1", true},
		"RAID member":        {func(d *Disk) { d.Signatures = []Signature{{Type: "linux_raid_member"}} }, "linux_raid_member", true},
		"thin metadata":      {func(d *Disk) { d.ThinMetadata = true }, "the metadata of a thin pool", true},
		"a bare pool's":      {func(d *Disk) { d.Signatures = []Signature{{Type: "ext4", Label: catalogLabel, UUID: "u-1"}} }, "the pool u-1", true},
		"lonely PV":          {func(d *Disk) { d.PV = true; d.Signatures = []Signature{{Type: "LVM2_member"}} }, "LVM2_member", true},
		"mounted":            {func(d *Disk) { d.Mounts = []string{"/srv"} }, "mounted on /srv", false},
		"swap":               {func(d *Disk) { d.Swap = []string{"/dev/sdb2"} }, "swapoff", false},
		"held":               {func(d *Disk) { d.Holders = []string{"/dev/mapper/crypt"} }, "/dev/mapper/crypt", false},
		"claimed":            {func(d *Disk) { d.Claimed = "device or resource busy" }, "in use", false},
		"read-only":          {func(d *Disk) { d.ReadOnly = true }, "read-only", false},
		"too small":          {func(d *Disk) { d.Bytes = mib }, "needs 1 GiB", false},
		"in a group":         {func(d *Disk) { d.PV, d.Group = true, "data" }, "--volume-group data", false},
		"another pool's":     {func(d *Disk) { d.PV, d.Group, d.Owner = true, "varve", "u-2" }, "the pool u-2", false},
		"mounted and forced": {func(d *Disk) { d.Mounts = []string{"/srv"}; d.Signatures = []Signature{{Type: "xfs"}} }, "does not help", false},
	} {
		d := blank()
		c.change(&d)
		err := d.refuse(gib, nil)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "/dev/sdb") {
			t.Errorf("%s: %v, want a refusal that says %q", name, err, c.says)
		}
		if err := d.refuse(gib, []string{"/dev/sdc"}); err == nil {
			t.Errorf("%s: forcing another device lets it pass", name)
		}
		if err := d.refuse(gib, []string{"/dev/sdb"}); (err == nil) != c.forced {
			t.Errorf("%s: forced by name: %v, want passing %v", name, err, c.forced)
		}
	}
}

func TestParseSignatures(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "{\n \"signatures\": [\n\n ]\n}": 0,
		`{"signatures":[{"device":"vda","offset":"0x438","type":"ext4","uuid":"u","label":"varve-catalog"}]}`: 1,
	} {
		got, err := parseSignatures([]byte(text))
		if err != nil || len(got) != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if _, err := parseSignatures([]byte("wipefs: error")); err == nil {
		t.Error("garbage passes")
	}
}

func TestParseReport(t *testing.T) {
	rows, err := parseReport([]byte(`{"report":[{"lv":[{"lv_name":"[p_tmeta]","lv_size":"4194304"},{"lv_name":"p"}]}]}`), "lv")
	if err != nil || len(rows) != 2 || rows[0]["lv_size"] != "4194304" {
		t.Errorf("%v, %v", rows, err)
	}
	if _, err := parseReport([]byte("  WARNING"), "lv"); err == nil {
		t.Error("garbage passes")
	}
	var p parser
	if n := p.number(map[string]string{"a": "12x"}, "a"); n != 0 || p.err == nil {
		t.Error("a field that is no number passes")
	}
	if got := owner([]string{"x", "varve.pool=abc"}); got != "abc" {
		t.Errorf("owner %q", got)
	}
	if got := lvmDevice("a-b", "c"); got != "a--b-c" {
		t.Errorf("dm name %q", got)
	}
}

func TestHolderIn(t *testing.T) {
	const table = "1: POSIX  ADVISORY  WRITE 11 fd:00:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 12 fd:00:77 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 13 fd:00:78 0 EOF\n"
	if got := holderIn(table, "fd:00:77"); got != "process 12" {
		t.Errorf("holder %q", got)
	}
	for _, file := range []string{"fd:00:78", "fd:00:7", "fd:01:77"} {
		if got := holderIn(table, file); got != "" {
			t.Errorf("%s is held by %q", file, got)
		}
	}
}
