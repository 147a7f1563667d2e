package setup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/varve-project/varve/devmapper/pool"
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
	if j == nil {
		if well, err := f.well(ctx, h); err != nil || well {
			if well {
				p.note("the metadata of %s are whole: nothing to repair", f.Volumes.Where())
			}
			return p, err
		}
	}
	saved := h.savedMetadata(f, j)
	if j == nil {
		p.add("note", "note the intent, so that a repair that is cut off can be taken up", Begin{Journal{
			Call: "repair", UUID: f.UUID, Target: f.Volumes.Where(), Location: LocationOf(r.Config), Devices: []string{saved}}})
	}
	p.removeDevices(f, "remove the pool's %d devices from the kernel; the data stay", func(m Mapped) bool { return m.Thin() || m.Tail == "pool" })
	loss := &loss{}
	if f.Volumes.Kind.LVM() {
		f.repairLVM(p, loss)
	} else {
		f.repairBare(p, saved, loss)
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

// repairLVM lets LVM repair into its spare volume and swap the two.
func (f *Found) repairLVM(p *Plan, l *loss) {
	where := f.Volumes.Group + "/" + f.Volumes.Pool
	p.note("the old metadata are kept as the volume %s_meta0 (or the next free number): remove it when all is well", where)
	p.add("deactivate", "deactivate the pool", Exec(lvm("lvchange", "--yes", "--activate", "n", where)))
	p.add("survey-before", "list the thin devices as far as the old metadata can be read", Survey{f, l, false})
	p.add("repair", "repair the metadata into the spare volume (thin_repair), and swap the two", Exec(lvm("lvconvert", "--yes", "--repair", where)))
	p.add("survey", "list the thin devices that are left", Survey{f, l, true})
	p.add("activate", "activate the pool", Exec(lvm("lvchange", "--yes", "--activate", "y", where)))
}

// repairBare saves the metadata to a file and repairs from there onto the
// device.
func (f *Found) repairBare(p *Plan, saved string, l *loss) {
	device := f.Volumes.Metadata
	if node := loopOf(device); f.Volumes.Kind == pool.KindLoop && node != "" {
		device = node
	}
	p.note("the old metadata are kept in %s: remove it when all is well", saved)
	p.add("survey-before", "list the thin devices as far as the old metadata can be read", Survey{f, l, false})
	if _, err := os.Stat(saved); err != nil {
		p.add("save", "save the old metadata", CopyDevice{From: device, To: saved})
	}
	p.add("repair", "repair the saved metadata back onto the device", Exec{"thin_repair", "--input", saved, "--output", device})
	p.add("check", "check what was written", Exec{"thin_check", device})
	p.add("survey", "list the thin devices that are left", Survey{f, l, true})
}
