package setup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
)

// lvm takes apart what create made of a volume group: all of it, two volumes
// in it, or the catalog beside a pool that was there before.
func (t *takeDown) lvm(ctx context.Context, h *Host) error {
	g := t.Group
	switch {
	case g == nil:
		return t.wipeDisks(ctx, h)
	case g.Partial:
		return fmt.Errorf("volume group %s misses a disk: bring it back, or take it out (vgreduce --removemissing), first", g.Name)
	case slices.Contains(g.Tags, tagMade) && owner(g.Tags) == t.plan.UUID:
		return t.wholeGroup(ctx, h)
	case t.Volumes.Kind == pool.KindThinPool:
		return t.thinPool()
	}
	t.volumes()
	t.profile(ctx, h)
	return nil
}

// wholeGroup removes a group that create made.
func (t *takeDown) wholeGroup(ctx context.Context, h *Host) error {
	for _, v := range t.Group.Volumes {
		mine := v.Name == pool.PoolVolume || v.Name == pool.CatalogVolume || owner(v.Tags) == t.plan.UUID ||
			strings.HasPrefix(v.Name, oldMetadata(pool.PoolVolume)) || strings.HasSuffix(v.Name, "_pmspare") || strings.HasPrefix(v.Name, pool.PoolVolume+"_") || strings.HasPrefix(v.Name, "lvol")
		if !mine {
			return fmt.Errorf("volume group %s holds the volume %s, which is not the pool's: move it away first, the group was made for the pool and goes with it", t.Group.Name, v.Name)
		}
	}
	t.plan.add("vgremove", "remove the volume group "+t.Group.Name+" with all its volumes", Exec(lvm("vgremove", "--yes", "--force", "--force", t.Group.Name)))
	for _, d := range t.Group.Disks {
		t.wipeDisk(d.Name)
	}
	t.profile(ctx, h)
	return nil
}

// wipeDisks goes on where the group is gone and its disks are not wiped.
func (t *takeDown) wipeDisks(ctx context.Context, h *Host) error {
	if t.journal == nil {
		return nil
	}
	pvs, err := h.lookPVs(ctx)
	if err != nil {
		return err
	}
	for _, name := range t.journal.Devices {
		for _, pv := range pvs {
			if pv.Name == name && pv.Group == "" {
				t.wipeDisk(name)
			}
		}
	}
	t.profile(ctx, h)
	return nil
}

func (t *takeDown) wipeDisk(name string) {
	t.plan.add("pvremove", "take LVM's label off "+name, Exec(lvm("pvremove", "--yes", name)))
}

// volumes removes the two volumes in a group that was there before.
func (t *takeDown) volumes() {
	for _, v := range t.Group.Volumes {
		if strings.HasPrefix(v.Name, oldMetadata(t.Volumes.Pool)) {
			t.plan.add("lvremove-old", "remove the metadata that a repair replaced", Exec(lvm("lvremove", "--yes", "--force", t.Group.Name+"/"+v.Name)))
		}
	}
	for _, name := range []string{t.Volumes.Pool, t.Volumes.Catalog} {
		v := t.Group.Volume(name)
		if v == nil || !slices.Contains(v.Tags, tagMade) || owner(v.Tags) != t.plan.UUID {
			continue
		}
		t.plan.add("lvremove", "remove the volume "+t.Group.Name+"/"+name, Exec(lvm("lvremove", "--yes", "--force", t.Group.Name+"/"+name)))
	}
}

// thinPool empties a pool that was there before, and removes the catalog.
func (t *takeDown) thinPool() error {
	v := t.Group.Volume(t.Volumes.Pool)
	where := t.Group.Name + "/" + t.Volumes.Pool
	if t.Group.Volume(t.Volumes.Catalog) != nil && v != nil && owner(v.Tags) != "" {
		if t.Live == nil {
			return fmt.Errorf("thin pool %s is not active, so that it cannot be emptied: activate it first (lvchange -ay %s)", where, where)
		}
		var foreign []uint32
		if t.Catalog != "" && t.UUID != "" {
			r, _, err := t.readRecord()
			if err != nil && t.journal == nil {
				return err
			}
			foreign = r.Foreign
		}
		t.plan.add("empty", "delete our thin devices in "+where+" and set its transaction id back to 0", Empty{
			Pool: t.Live.Name, Metadata: dm.Path(lvmDevice(t.Group.Name, v.Metadata)), Keep: foreign})
	}
	t.volumes()
	if v != nil && owner(v.Tags) == t.plan.UUID {
		t.plan.add("untag", "take our mark off "+where, Exec(lvm("lvchange", "--deltag", tagPool+t.plan.UUID, where)))
	}
	return nil
}

// profile removes the LVM profile, if no other pool uses it.
func (t *takeDown) profile(ctx context.Context, h *Host) {
	rows, err := h.reports(ctx, "lv", "lv_name,vg_name,lv_profile", "--all")
	if err != nil {
		t.plan.note("the LVM profile %s stays: %v", profilePath, err)
		return
	}
	for _, r := range rows {
		if r["lv_profile"] == profileName && r["vg_name"] != t.Volumes.Group {
			t.plan.note("the LVM profile %s stays, the volume group %s uses it", profilePath, r["vg_name"])
			return
		}
	}
	t.plan.add("profile", "remove the LVM profile, which no other pool uses", RemoveFile(profilePath))
}
