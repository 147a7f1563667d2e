package setup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/devmapper/pool/thinmeta"
)

// Repair is what `pool repair` is asked for.
type Repair struct{ Config pool.Config }

// Plan looks at the pool and says how its metadata are repaired, or why not.
// The pool must be idle; its thin devices are removed from the kernel, and the
// daemon's next start brings back what is needed.
func (r *Repair) Plan(ctx context.Context, h *Host) (*Plan, error) {
	f, err := h.Find(ctx, r.Config)
	if err != nil {
		return nil, err
	}
	if f.UUID == "" {
		return nil, f.absent()
	}
	if err := f.idle("repair"); err != nil {
		return nil, err
	}
	j, err := h.ReadJournal()
	if err != nil {
		return nil, err
	}
	if j != nil && (j.Call != "repair" || j.UUID != f.UUID) {
		return nil, fmt.Errorf("a `pool %s` of %s was cut off: run it again first", j.Call, j.Target)
	}
	p := &Plan{Call: "repair", UUID: f.UUID}
	well, err := f.well(ctx, h)
	switch {
	case err != nil:
		return nil, err
	case well && j == nil:
		p.note("the metadata of %s are whole: nothing to repair", f.Volumes.Where())
		return p, nil
	case well:
		f.finishRepair(p)
		return p, nil
	}
	saved := h.savedMetadata(f, j)
	if j == nil {
		p.add("note", "note the intent, so that a repair that is cut off can be taken up", Begin{Journal{
			Call: "repair", UUID: f.UUID, Target: f.Volumes.Where(), Location: LocationOf(r.Config), Devices: []string{saved}}})
	}
	p.removeDevices(f, "remove the pool's %d devices from the kernel; the data stay", func(m Mapped) bool { return m.Thin() || m.Tail == "pool" })
	help, err := f.helpThinRepair(ctx, h)
	if err != nil {
		return nil, err
	}
	if f.Volumes.Kind.LVM() {
		err = f.repairLVM(p, help)
	} else {
		f.repairBare(p, saved, help)
	}
	if err != nil {
		return nil, err
	}
	p.add("done", "the pool can be used again: start the daemon, which compares it with its records", End{})
	return p, nil
}

// well tells whether a repair would mend nothing.
func (f *Found) well(ctx context.Context, h *Host) (bool, error) {
	if f.Live != nil {
		return !f.Live.NeedsCheck && f.Live.Mode != pool.ModeFail && f.Live.Mode != pool.ModeReadOnly, nil
	}
	well := false
	err := f.withMetadata(ctx, h, func(node string) error {
		_, err := h.run(ctx, "thin_check", "--quiet", node)
		if ctx.Err() != nil || errors.Is(err, errNotInstalled) {
			return err
		}
		well = err == nil
		return nil
	})
	return well, err
}

// savedMetadata is the file that keeps the old metadata of a pool without LVM.
func (h *Host) savedMetadata(f *Found, j *Journal) string {
	if j != nil && len(j.Devices) == 1 {
		return j.Devices[0]
	}
	if f.Volumes.Kind.LVM() {
		return ""
	}
	for n := 1; ; n++ {
		path := filepath.Join(h.Root, "metadata-"+f.UUID+"."+strconv.Itoa(n)+".saved")
		if _, err := os.Lstat(path); err != nil {
			return path
		}
	}
}

// helpThinRepair tells thin_repair what it cannot read itself when the
// superblock is broken: all of it stands in the catalog too.
func (f *Found) helpThinRepair(ctx context.Context, h *Host) ([]string, error) {
	whole := false
	read := func(node string) error {
		r, err := thinmeta.OpenDevice(node)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = thinmeta.Open(r)
		whole = err == nil
		return nil
	}
	var err error
	if f.Live != nil {
		err = read(f.Live.Metadata)
	} else {
		err = f.withMetadata(ctx, h, read)
	}
	if err != nil || whole {
		return nil, err
	}
	r, err := f.recordAwake(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("the superblock of the metadata is broken, and the catalog, which knows what stood in it, cannot be read: %w", err)
	}
	data := f.DataBytes
	if f.Group != nil {
		data = f.Group.Volume(f.Volumes.Pool).Bytes
	} else if f.Volumes.Kind == pool.KindDevices {
		data -= min(data, pool.CatalogBytes)
	}
	return []string{
		"--transaction-id", strconv.FormatUint(r.TransactionID, 10),
		"--data-block-size", strconv.FormatUint(r.BlockBytes/512, 10),
		"--nr-data-blocks", strconv.FormatUint(data/r.BlockBytes, 10),
	}, nil
}

// repairLVM repairs into a new volume and swaps it with the old one. LVM's own
// `lvconvert --repair` does the same with its spare volume, but gives up on a
// broken superblock.
func (f *Found) repairLVM(p *Plan, help []string) error {
	g, lv := f.Group, f.Group.Volume(f.Volumes.Pool)
	where := g.Name + "/" + lv.Name
	metadata := g.Volume(lv.Metadata)
	if metadata == nil {
		return fmt.Errorf("thin pool %s has no metadata volume: LVM has not shown it", where)
	}
	fresh := f.spareName()
	p.note("the old metadata are kept as the volume %s/%s: remove it when all is well (lvremove)", g.Name, fresh)
	p.add("deactivate", "deactivate the pool", Exec(lvm("lvchange", "--yes", "--activate", "n", where)))
	if v := g.Volume(fresh); v == nil {
		if g.Free < metadata.Bytes {
			return fmt.Errorf("volume group %s has %s free, and the repaired metadata need %s: add a disk (vgextend %s /dev/…)", g.Name, Bytes(g.Free), Bytes(metadata.Bytes), g.Name)
		}
		p.add("lvcreate", "make a volume for the repaired metadata", Exec(lvm("lvcreate", "--yes", "--type", "linear", "--wipesignatures", "y", "--zero", "y",
			"--size", size(metadata.Bytes), "--addtag", tagPool+f.UUID, "--addtag", tagRepair, "--name", fresh, g.Name)))
	}
	p.add("repair", "repair the metadata into it, and say what is lost", Mend{f, fresh, help})
	p.add("swap", "swap the two", Exec(lvm("lvconvert", "--yes", "--thinpool", where, "--poolmetadata", g.Name+"/"+fresh)))
	p.add("untag", "keep the old metadata", Exec(lvm("lvchange", "--deltag", tagRepair, g.Name+"/"+fresh)))
	p.add("activate", "activate the pool", Exec(lvm("lvchange", "--yes", "--activate", "y", where)))
	return nil
}

// finishRepair ends a repair that was cut off behind its last great step.
func (f *Found) finishRepair(p *Plan) {
	p.note("the metadata have been repaired; this ends the repair that was cut off")
	if f.Group != nil {
		for _, v := range f.Group.Volumes {
			if slices.Contains(v.Tags, tagRepair) && strings.HasPrefix(v.Name, oldMetadata(f.Volumes.Pool)) {
				p.add("untag", "keep the old metadata", Exec(lvm("lvchange", "--deltag", tagRepair, f.Group.Name+"/"+v.Name)))
			}
		}
		p.add("activate", "activate the pool", Exec(lvm("lvchange", "--yes", "--activate", "y", f.Group.Name+"/"+f.Volumes.Pool)))
	}
	p.add("done", "the pool can be used again: start the daemon, which compares it with its records", End{})
}

// oldMetadata begins the names of volumes that keep what a repair replaced.
func oldMetadata(pool string) string { return pool + "-old-metadata-" }

// tagRepair is on a volume that a repair has not yet swapped in.
const tagRepair = "varve.repair"

// spareName is the first free name for the volume that is swapped, or that of
// the repair that was cut off before it swapped.
func (f *Found) spareName() string {
	for n := 1; ; n++ {
		name := oldMetadata(f.Volumes.Pool) + strconv.Itoa(n)
		v := f.Group.Volume(name)
		if v == nil || slices.Contains(v.Tags, tagRepair) {
			return name
		}
	}
}

// repairBare saves the metadata to a file and repairs from there onto the
// device.
func (f *Found) repairBare(p *Plan, saved string, help []string) {
	device := f.Volumes.Metadata
	if node := loopOf(device); f.Volumes.Kind == pool.KindLoop && node != "" {
		device = node
	}
	p.note("the old metadata are kept in %s: remove it when all is well", saved)
	if _, err := os.Stat(saved); err != nil {
		p.add("save", "save the old metadata", CopyDevice{From: device, To: saved})
	}
	p.add("repair", "repair the saved metadata back onto the device, and say what is lost", MendFrom{saved, device, help})
}
