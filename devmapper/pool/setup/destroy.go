package setup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/varve-project/varve/devmapper/pool"
)

// Destroy is what `pool destroy` is asked for.
type Destroy struct {
	// UUID names the pool, so that no wrong one is taken apart.
	UUID string
	// Yes: the person knows that all of it is lost.
	Yes bool
	// Config says where the pool lies. A destruction or creation that was cut
	// off says so itself.
	Config pool.Config
}

// Plan looks at the pool and returns how it is taken apart, or why not.
func (d *Destroy) Plan(ctx context.Context, h *Host, dryRun bool) (*Plan, error) {
	if !d.Yes && !dryRun {
		return nil, errors.New("destroying a pool loses every image and container on it: say --yes if that is wanted, or --dry-run to see what would be done")
	}
	j, err := h.ReadJournal()
	if err != nil {
		return nil, err
	}
	c := d.Config
	if j != nil && j.UUID != d.UUID {
		return nil, fmt.Errorf("a `pool %s` of the pool %s was cut off: run it again first", j.Call, j.UUID)
	}
	if j != nil {
		c = j.Location.In(c)
	}
	f, err := h.Find(ctx, c)
	if err != nil {
		return nil, err
	}
	p := &Plan{Call: "destroy", UUID: d.UUID}
	if f.UUID == "" && j == nil {
		p.note("there is no pool at %s: nothing to do", f.Volumes.Where())
		return p, nil
	}
	if f.UUID != "" && f.UUID != d.UUID {
		return nil, fmt.Errorf("the pool at %s is %s, not %q: name the pool that shall go", f.Volumes.Where(), f.UUID, d.UUID)
	}
	if err := f.idle("destroy"); err != nil {
		return nil, err
	}
	t := &takeDown{Found: f, plan: p, journal: j}
	if j == nil || j.Call != "destroy" {
		p.add("note", "note the intent, so that a destruction that is cut off can be taken up", Begin{Journal{
			Call: "destroy", UUID: d.UUID, Target: f.Volumes.Where(), Location: LocationOf(c), Devices: t.disks()}})
	}
	p.note("every image, snapshot and container file on the pool %s is lost", d.UUID)
	if err := t.steps(ctx, h); err != nil {
		return nil, err
	}
	p.add("done", "the pool is gone; the configuration still names it", End{})
	return p, nil
}

// idle refuses while somebody uses the pool.
func (f *Found) idle(call string) error {
	if err := f.tryOwner(); err != nil {
		return err
	}
	if f.Owner != "" {
		return fmt.Errorf("pool %s (%s) is owned by %s: stop it first (systemctl stop varve-devmapper.socket varve-devmapper.service); `pool %s` works on pools that nobody runs", f.UUID, f.Volumes.Where(), f.Owner, call)
	}
	var open []string
	for _, m := range f.Devices {
		if m.Thin() && m.Open > 0 {
			open = append(open, m.Name)
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("pool %s (%s): %d thin devices are open (%s): stop the containers on them and unmount them first (findmnt -S /dev/mapper/%s)",
			f.UUID, f.Volumes.Where(), len(open), strings.Join(open[:min(3, len(open))], ", "), open[0])
	}
	return nil
}

// takeDown collects the steps of a destruction.
type takeDown struct {
	*Found
	plan    *Plan
	journal *Journal
}

// disks are the physical volumes of a group that create made.
func (t *takeDown) disks() []string {
	var names []string
	if t.Group != nil && slices.Contains(t.Group.Tags, tagMade) && owner(t.Group.Tags) == t.UUID {
		for _, d := range t.Group.Disks {
			names = append(names, d.Name)
		}
	}
	return names
}

func (t *takeDown) steps(ctx context.Context, h *Host) error {
	t.release()
	switch t.Volumes.Kind {
	case pool.KindDevices:
		return t.bare(ctx, h)
	case pool.KindLoop:
		t.files()
		return nil
	}
	return t.lvm(ctx, h)
}

// release unmounts what a killed owner left mounted, and removes the pool's
// devices, thin ones first.
func (t *takeDown) release() {
	if t.Mounted != "" {
		t.plan.add("unmount", "unmount the catalog, which its last owner left", Unmount(t.Mounted))
	}
	t.plan.removeDevices(t.Found, "remove the pool's %d devices from the kernel", func(Mapped) bool { return true })
}

// removeDevices removes devices of the pool in the order in which they lie on
// each other.
func (p *Plan) removeDevices(f *Found, why string, which func(Mapped) bool) {
	var names []string
	for _, rank := range []func(Mapped) bool{
		Mapped.Thin,
		func(m Mapped) bool { return !m.Thin() && m.Tail != "data" && m.Tail != "pool" && m.Tail != "catalog" },
		func(m Mapped) bool { return m.Tail == "pool" },
		func(m Mapped) bool { return m.Tail == "data" || m.Tail == "catalog" },
	} {
		for _, m := range f.Devices {
			if rank(m) && which(m) {
				names = append(names, m.Name)
			}
		}
	}
	if len(names) > 0 {
		p.add("devices", fmt.Sprintf(why, len(names)), RemoveDevices(names))
	}
}

func (t *takeDown) bare(ctx context.Context, h *Host) error {
	if t.UUID == "" {
		// The catalog's superblock is gone: the first of the two was wiped,
		// or a creation had not come so far.
		t.plan.note("the catalog on %s is gone already", t.Volumes.Data)
	}
	for _, node := range []string{t.Volumes.Metadata, t.Volumes.Data} {
		d, err := h.Look(ctx, node)
		if err != nil {
			return err
		}
		if node == t.Volumes.Metadata && !d.ThinMetadata {
			continue
		}
		if node == t.Volumes.Data && d.catalog() == "" {
			continue
		}
		t.plan.add("wipe", "wipe the start of "+node, Zero{node, mib})
	}
	return nil
}

func (t *takeDown) files() {
	v := t.Volumes
	for _, file := range []string{v.Data, v.Metadata, v.CatalogFile} {
		t.plan.add("file", "detach and remove "+file, RemoveLoopFile(file))
	}
	t.plan.add("folder", "remove the folder, if it is empty", RemoveDir(t.Config.LoopDirectory))
}
