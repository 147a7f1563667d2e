package setup

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/varve-project/varve/devmapper/pool"
)

// Extend is what `pool extend` is asked for. It works beside a running daemon.
type Extend struct {
	// Devices are added to the volume group; ForceWipe as in Create.
	Devices   []string
	ForceWipe []string
	// Data and Metadata are the sizes to have, or how much to add.
	Data, Metadata Change
	Config         pool.Config
}

// Plan looks at the pool and says how it grows, or why it cannot.
func (e *Extend) Plan(ctx context.Context, h *Host) (*Plan, error) {
	f, err := h.Find(ctx, e.Config)
	if err != nil {
		return nil, err
	}
	if f.UUID == "" {
		return nil, f.absent()
	}
	p := &Plan{Call: "extend", UUID: f.UUID}
	g := &growth{ask: e, Found: f, plan: p}
	if err := g.resume(h); err != nil {
		return nil, err
	}
	if f.Volumes.Kind.LVM() {
		err = g.group(ctx, h)
	} else {
		err = g.bare()
	}
	if err == nil && len(p.Steps) > 0 {
		p.add("done", "the pool has grown", End{})
	}
	return p, err
}

// growth is an extension with what was found.
type growth struct {
	ask *Extend
	*Found
	plan    *Plan
	journal *Journal
}

func (g *growth) target() string {
	return fmt.Sprintf("%s data %s metadata %s devices %s", g.Volumes.Where(), g.ask.Data, g.ask.Metadata, strings.Join(g.ask.Devices, " "))
}

func (g *growth) resume(h *Host) error {
	j, err := h.ReadJournal()
	if err != nil || j == nil {
		return err
	}
	if j.Call != "extend" || j.UUID != g.UUID || j.Target != g.target() {
		return fmt.Errorf("a `pool %s` of %s was cut off: run it again, with the same flags, first", j.Call, j.Target)
	}
	g.journal = j
	g.plan.note("this goes on with the extension that was cut off at %s", j.Started.Format("2006-01-02 15:04:05"))
	return nil
}

// aim is what the two spaces shall have, in bytes; an extension that is taken
// up aims where it did.
func (g *growth) aim(data, metadata uint64) (wantData, wantMetadata uint64, err error) {
	wantData, wantMetadata = g.ask.Data.from(data), g.ask.Metadata.from(metadata)
	if g.journal != nil {
		wantData, wantMetadata = g.journal.Data, g.journal.Metadata
	}
	switch {
	case wantData < data:
		return 0, 0, fmt.Errorf("--data-size %s: the pool has %s, and a pool never shrinks", Bytes(wantData), Bytes(data))
	case wantMetadata < metadata:
		return 0, 0, fmt.Errorf("--metadata-size %s: the pool has %s, and a pool never shrinks", Bytes(wantMetadata), Bytes(metadata))
	case wantMetadata > maxMetadata && wantMetadata > metadata:
		return 0, 0, fmt.Errorf("--metadata-size %s: a pool can use %s at most", Bytes(wantMetadata), Bytes(maxMetadata))
	}
	return wantData, wantMetadata, nil
}

func (g *growth) begin(data, metadata uint64) {
	if g.journal == nil {
		g.plan.add("note", "note the intent, so that an extension that is cut off can be taken up", Begin{Journal{
			Call: "extend", UUID: g.UUID, Target: g.target(), Location: LocationOf(g.ask.Config), Data: data, Metadata: metadata}})
	}
}

// group extends volumes in a volume group.
func (g *growth) group(ctx context.Context, h *Host) error {
	lv := g.Group.Volume(g.Volumes.Pool)
	switch {
	case len(g.ask.Devices) == 0 && g.ask.Data == (Change{}) && g.ask.Metadata == (Change{}):
		return errors.New("say how the pool shall grow: --device /dev/sdX (adds a disk to the volume group), --data-size +10G, --metadata-size +100M")
	case lv == nil:
		return g.absent()
	case g.Group.Partial:
		return fmt.Errorf("volume group %s misses a disk: bring it back, or take it out (vgreduce --removemissing), first", g.Group.Name)
	}
	metadata := g.Group.Volume(lv.Metadata)
	if metadata == nil {
		return fmt.Errorf("thin pool %s/%s has no metadata volume: LVM has not shown it", g.Group.Name, lv.Name)
	}
	wantData, wantMetadata, err := g.aim(lv.Bytes, metadata.Bytes)
	if err != nil {
		return err
	}
	wantData, wantMetadata = roundUp(wantData, g.Group.Extent), roundUp(wantMetadata, g.Group.Extent)
	g.begin(wantData, wantMetadata)
	free, err := g.disks(ctx, h)
	if err != nil {
		return err
	}
	free += g.Group.Free
	needs := wantData - lv.Bytes
	if wantMetadata > metadata.Bytes {
		needs += wantMetadata - metadata.Bytes + spare(g.Group, wantMetadata)
	}
	if needs > free {
		return fmt.Errorf("the pool needs %s more, and the volume group %s has %s free: add a disk (--device /dev/sdX)", Bytes(needs), g.Group.Name, Bytes(free))
	}
	where := g.Group.Name + "/" + lv.Name
	if wantMetadata > metadata.Bytes {
		g.plan.add("metadata", fmt.Sprintf("extend the metadata from %s to %s", Bytes(metadata.Bytes), Bytes(wantMetadata)),
			Exec(lvm("lvextend", "--yes", "--poolmetadatasize", size(wantMetadata), where)))
	}
	if wantData > lv.Bytes {
		g.plan.add("data", fmt.Sprintf("extend the data space from %s to %s", Bytes(lv.Bytes), Bytes(wantData)),
			Exec(lvm("lvextend", "--yes", "--size", size(wantData), where)))
	}
	return nil
}

// disks adds devices to the group and returns what room they bring.
func (g *growth) disks(ctx context.Context, h *Host) (room uint64, err error) {
	var disks []*Disk
	for _, path := range g.ask.Devices {
		d, err := h.Look(ctx, path)
		if err != nil {
			return 0, err
		}
		disks = append(disks, d)
	}
	if len(disks) == 0 {
		return 0, nil
	}
	if err := h.claimPVs(ctx, disks...); err != nil {
		return 0, err
	}
	argv := []string{"vgextend", "--yes", "--dataalignment", size(dataAlignment), g.Group.Name}
	wiper := &site{Create: &Create{ForceWipe: g.ask.ForceWipe}}
	for _, d := range disks {
		if d.Group == g.Group.Name && g.journal != nil {
			continue // added before this command was cut off
		}
		if g.journal != nil && d.PV && d.Group == "" {
			d.PV, d.Signatures = false, nil // labelled, and cut off before it was added
		}
		if err := d.refuse(dataAlignment+g.Group.Extent, g.ask.ForceWipe); err != nil {
			return 0, err
		}
		wiper.planWipe(g.plan, d)
		argv = append(argv, d.Path)
		room += roundDown(d.Bytes-dataAlignment, g.Group.Extent)
	}
	if room > 0 {
		g.plan.add("vgextend", "add "+strings.Join(g.ask.Devices, " and ")+" to the volume group "+g.Group.Name, Exec(lvm(argv...)))
	}
	return room, nil
}

// bare takes up the new sizes of devices or files.
func (g *growth) bare() error {
	if len(g.ask.Devices) > 0 {
		return errors.New("--device adds a disk to a volume group, and this pool has none: enlarge its devices below (the LUN, the partition, the file), and extend it then")
	}
	files := g.Volumes.Kind == pool.KindLoop
	if !files && (g.ask.Data != (Change{}) || g.ask.Metadata != (Change{})) {
		return errors.New("the sizes of this pool are those of its devices: enlarge them, and run `pool extend` without --data-size and --metadata-size")
	}
	reserved := uint64(pool.CatalogBytes)
	if files {
		reserved = 0
	}
	has := g.DataBytes - min(g.DataBytes, reserved)
	if err := g.refuseShrunk(has); err != nil {
		return err
	}
	data, metadata, err := g.aim(has, g.MetadataBytes)
	if err != nil {
		return err
	}
	if files {
		g.files(data, metadata)
	}
	if g.Live == nil {
		g.plan.note("the pool is not active: the daemon's next start takes the size that its devices have then")
		return nil
	}
	bytes := roundDown(data, g.Live.BlockBytes)
	if bytes == g.Live.DataTotal*g.Live.BlockBytes && roundDown(metadata, pool.MetadataBlock) <= g.Live.MetadataTotal*pool.MetadataBlock {
		g.plan.note("the pool has the size of its devices: nothing to do")
		return nil
	}
	if len(g.plan.Steps) == 0 {
		g.begin(data, metadata)
	}
	g.plan.add("reload", fmt.Sprintf("let the pool use %s of data and %s of metadata", Bytes(bytes), Bytes(metadata)), GrowTables{
		Data: devicePrefix(g.UUID) + "data", Pool: g.Live.Name, Bytes: bytes})
	return nil
}

// refuseShrunk: what lies behind the end of the device is lost, and nothing
// here may make that worse.
func (g *growth) refuseShrunk(has uint64) error {
	least := uint64(0)
	if g.Live != nil {
		least = g.Live.DataTotal * g.Live.BlockBytes
	}
	if r, _, err := g.readRecord(); err == nil {
		least = max(least, r.DataBytes)
	}
	if has < least {
		return fmt.Errorf("the data device of %s shrank: it has room for %s of data, and the pool has had %s; nothing was written; give the device its size back", g.Volumes.Where(), Bytes(has), Bytes(least))
	}
	return nil
}

// files enlarges the files of a loop pool.
func (g *growth) files(data, metadata uint64) {
	for _, file := range []struct {
		name, path string
		has, want  uint64
	}{{"metadata", g.Volumes.Metadata, g.MetadataBytes, metadata}, {"data", g.Volumes.Data, g.DataBytes, data}} {
		if file.want > file.has || g.journal != nil {
			if len(g.plan.Steps) == 0 {
				g.begin(data, metadata)
			}
			g.plan.add("file-"+file.name, "enlarge "+file.path+" to "+Bytes(file.want).String(), GrowFile{file.path, file.want})
		}
	}
}
