package setup

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/varve-project/varve/devmapper/pool"
)

const testUUID = "11111111-2222-4333-8444-555555555555"

// newSite is a request as Plan sees it behind its look.
func newSite(t *testing.T, c Create) *site {
	t.Helper()
	if c.Settings == (pool.Config{}) {
		c.Settings = pool.DefaultConfig()
	}
	w, err := c.way()
	if err != nil {
		t.Fatal(err)
	}
	return &site{Create: &c, way: w, id: testUUID}
}

func steps(p *Plan) string {
	var names []string
	for _, s := range p.Steps {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

func withUdev(t *testing.T) {
	t.Helper()
	old := udevRuns
	udevRuns = func() bool { return true }
	t.Cleanup(func() { udevRuns = old })
}

func TestPlanRawDisk(t *testing.T) {
	withUdev(t)
	s := newSite(t, Create{Devices: []string{"/dev/sdb"}})
	d := blank()
	d.Bytes = 100 * gib
	s.disks = []*Disk{&d}
	p, err := s.plan()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := steps(p), "note vgcreate lvcreate-catalog profile lvcreate-pool when-full format ready done"; got != want {
		t.Errorf("steps %q, want %q", got, want)
	}
	want := "lvm vgcreate --yes --dataalignment 1048576b --physicalextentsize 4194304b --addtag varve.pool=" + testUUID + " --addtag varve.made varve /dev/sdb"
	if got := p.Steps[1].Action.Shell(); got != want {
		t.Errorf("vgcreate is\n%s, want\n%s", got, want)
	}
	made := p.Steps[4].Action.Shell()
	for _, want := range []string{"--poolmetadataspare y", "--chunksize 65536b", "--zero y", "--discards passdown", "--monitor n", "--metadataprofile varve-pool"} {
		if !strings.Contains(made, want) {
			t.Errorf("the pool is made without %s: %s", want, made)
		}
	}
}

// Every place at which a creation can be cut off, as it looks afterwards.
func TestPlanGoesOn(t *testing.T) {
	withUdev(t)
	tags := []string{tagPool + testUUID, tagMade}
	group := func(volumes ...Volume) *Group {
		return &Group{Name: "varve", Extent: extentBytes, Bytes: 10 * gib, Free: 10 * gib, Tags: tags, Volumes: volumes}
	}
	catalog := Volume{Name: pool.CatalogVolume, Type: "linear", Bytes: pool.CatalogBytes, Tags: tags}
	half := Volume{Name: pool.PoolVolume, Type: "linear", Tags: tags}
	stray := Volume{Name: "lvol0", Type: "linear"}
	whole := Volume{Name: pool.PoolVolume, Type: "thin-pool", Tags: append([]string{tagReady}, tags...), WhenFull: "error"}
	hidden := Volume{Name: "lvol0_pmspare", Type: "linear"}
	for name, c := range map[string]struct {
		group *Group
		pv    bool
		want  string
	}{
		"only noted":      {nil, false, "vgcreate lvcreate-catalog profile lvcreate-pool when-full format ready done"},
		"a label only":    {nil, true, "vgcreate lvcreate-catalog profile lvcreate-pool when-full format ready done"},
		"the group":       {group(), true, "lvcreate-catalog profile lvcreate-pool when-full format ready done"},
		"the catalog":     {group(catalog), true, "profile lvcreate-pool when-full format ready done"},
		"half a pool":     {group(catalog, half, stray), true, "clear clear profile lvcreate-pool when-full format ready done"},
		"all but the end": {group(catalog, whole, hidden), true, "format done"},
	} {
		s := newSite(t, Create{Devices: []string{"/dev/sdb"}})
		s.journal, s.group = &Journal{Call: "create", UUID: testUUID, Started: time.Now()}, c.group
		d := blank()
		if c.pv {
			d.PV, d.Signatures = true, []Signature{{Type: "LVM2_member"}}
		}
		if c.group != nil {
			d.Group, d.Owner, d.Holders, d.Claimed = "varve", testUUID, []string{"/dev/mapper/varve-x"}, "busy"
		}
		s.disks = []*Disk{&d}
		p, err := s.plan()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := steps(p); got != c.want {
			t.Errorf("%s: steps %q, want %q", name, got, c.want)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	small, big := blank(), blank()
	small.Bytes = 300 * mib
	big.Bytes, big.Number = 10*gib, "8:32"
	disks := func(d ...Disk) func(*site) {
		return func(s *site) {
			for i := range d {
				s.disks = append(s.disks, &d[i])
			}
		}
	}
	inGroup := func(g *Group) func(*site) { return func(s *site) { s.group = g } }
	pool0 := Volume{Name: "mine", Type: "thin-pool", Active: true}
	used := func(v Volume, more ...Volume) *Group {
		return &Group{Name: "vg", Extent: extentBytes, Free: gib, Bytes: gib, Volumes: append(more, v)}
	}
	live := func(l live, g *Group) func(*site) { return func(s *site) { s.live, s.group = &l, g } }
	ok := pool.Report{Mode: pool.ModeWrite}
	for name, c := range map[string]struct {
		ask  Create
		look func(*site)
		says string
	}{
		"too small":             {Create{Devices: []string{"/dev/sdb"}}, disks(small), "too small"},
		"group exists":          {Create{Devices: []string{"/dev/sdb"}}, func(s *site) { disks(big)(s); inGroup(&Group{Name: "varve"})(s) }, "was not made by this command"},
		"group of another pool": {Create{Devices: []string{"/dev/sdb"}}, func(s *site) { disks(big)(s); inGroup(&Group{Name: "varve", Tags: []string{"varve.pool=u"}})(s) }, "belongs to the pool u"},
		"no group":              {Create{VolumeGroup: "vg"}, inGroup(nil), "no such group"},
		"partial group":         {Create{VolumeGroup: "vg"}, inGroup(&Group{Name: "vg", Partial: true}), "misses a disk"},
		"group too full":        {Create{VolumeGroup: "vg"}, inGroup(&Group{Name: "vg", Extent: extentBytes, Free: 100 * mib}), "too small"},
		"volume of that name":   {Create{VolumeGroup: "vg"}, inGroup(used(Volume{Name: pool.PoolVolume})), "not made by this command"},
		"size too large":        {Create{VolumeGroup: "vg", Size: 100 * gib}, inGroup(used(Volume{Name: "x"})), "too small"},
		"no thin pool":          {Create{ThinPool: "vg/mine"}, inGroup(used(Volume{Name: "x"})), "no such volume"},
		"no pool but linear":    {Create{ThinPool: "vg/mine"}, inGroup(used(Volume{Name: "mine", Type: "linear"})), "of type linear"},
		"LVM's thin volumes":    {Create{ThinPool: "vg/mine"}, inGroup(used(pool0, Volume{Name: "t", Type: "thin", Pool: "mine"})), "LVM's own thin volume t"},
		"LVM's transaction id":  {Create{ThinPool: "vg/mine"}, inGroup(used(Volume{Name: "mine", Type: "thin-pool", TransactionID: 3})), "transaction id to 3"},
		"not active":            {Create{ThinPool: "vg/mine"}, inGroup(used(pool0)), "not active"},
		"kernel's transaction":  {Create{ThinPool: "vg/mine"}, live(live0(ok, 7, 0), used(pool0)), "transaction id is 7"},
		"foreign thin ids":      {Create{ThinPool: "vg/mine"}, live(live0(ok, 0, 0, 5), used(pool0)), "thin devices of somebody else"},
		"in use":                {Create{ThinPool: "vg/mine"}, live(live0(ok, 0, 2), used(pool0)), "in use, open 2 times"},
		"needs check":           {Create{ThinPool: "vg/mine"}, live(live0(pool.Report{Mode: pool.ModeReadOnly, NeedsCheck: true}, 0, 0), used(pool0)), "mode is ro"},
		"no room for catalog":   {Create{ThinPool: "vg/mine"}, live(live0(ok, 0, 0), &Group{Name: "vg", Extent: extentBytes, Free: mib, Volumes: []Volume{pool0}}), "the catalog needs"},
		"one device twice":      {Create{DataDevice: "/dev/sdb", MetadataDevice: "/dev/disk/by-id/b"}, disks(big, big), "are one device"},
		"data too small":        {Create{DataDevice: "/dev/sdb", MetadataDevice: "/dev/sdc"}, disks(small, big), "the catalog at its start"},
	} {
		s := newSite(t, c.ask)
		c.look(s)
		_, err := s.plan()
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want a refusal that says %q", name, err, c.says)
		}
	}
}

func live0(r pool.Report, transaction uint64, open int, thins ...uint32) live {
	r.TransactionID = transaction
	return live{Report: r, Open: open, Thins: thins}
}

func TestWayRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		ask  Create
		says string
	}{
		"nothing":            {Create{}, "say where"},
		"two ways":           {Create{ThinPool: "a/b", LoopDirectory: "/x"}, "one pool only"},
		"group and device":   {Create{VolumeGroup: "vg", DataDevice: "/dev/a", MetadataDevice: "/dev/b"}, "one pool only"},
		"relative":           {Create{Devices: []string{"sdb"}}, "absolute path"},
		"twice":              {Create{Devices: []string{"/dev/b", "/dev/b"}}, "given twice"},
		"force of another":   {Create{Devices: []string{"/dev/b"}, ForceWipe: []string{"/dev/c"}}, "--force-wipe /dev/c"},
		"loop without size":  {Create{LoopDirectory: "/x"}, "--size"},
		"tiny":               {Create{LoopDirectory: "/x", Size: mib}, "--size 1 MiB"},
		"bad uuid":           {Create{Devices: []string{"/dev/b"}, UUID: "x"}, "--uuid"},
		"thin pool and size": {Create{ThinPool: "a/b", Size: gib}, "do not go with it"},
		"bare and size":      {Create{DataDevice: "/dev/a", MetadataDevice: "/dev/b", Size: gib}, "do not go with them"},
		"bad group":          {Create{VolumeGroup: "a b"}, "volume_group"},
	} {
		c.ask.Settings = pool.DefaultConfig()
		if _, err := c.ask.way(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error that says %q", name, err, c.says)
		}
	}
}

// failing is an action that counts its runs.
type failing struct {
	runs *int
	err  error
}

func (f failing) Shell() string                   { return "false" }
func (f failing) do(context.Context, *Host) error { *f.runs++; return f.err }

func TestRunStopsAtTheFirstFailure(t *testing.T) {
	var first, second int
	cause := errors.New("disk on fire")
	p := &Plan{Call: "create"}
	p.add("a", "one", failing{&first, cause})
	p.add("b", "two", failing{&second, nil})
	err := p.Run(context.Background(), &Host{})
	if !errors.Is(err, cause) || first != 1 || second != 0 || !strings.Contains(err.Error(), "step 1 of 2, a") {
		t.Errorf("%v after %d and %d runs", err, first, second)
	}
	text, err := json.Marshal(p)
	if err != nil || !strings.Contains(string(text), `{"name":"a","why":"one","run":"false"}`) {
		t.Errorf("%s, %v", text, err)
	}
}
