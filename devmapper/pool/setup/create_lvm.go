package setup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/varve-project/varve/devmapper/pool"
)

// How create makes a volume group: fixed, so that a plan knows its room before
// the group is there.
const (
	extentBytes   = 4 * mib
	dataAlignment = mib
)

func (s *site) planDisks(p *Plan) error {
	name := s.groupName()
	if err := s.refuseDisks(extentBytes + dataAlignment); err != nil {
		return err
	}
	if s.group != nil {
		if o := owner(s.group.Tags); o != s.id {
			return refuseGroup(s.group, o)
		}
		return s.planVolumes(p, s.group, s.group.Bytes)
	}
	var total uint64
	for _, d := range s.disks {
		total += roundDown(d.Bytes-dataAlignment, extentBytes)
		s.planWipe(p, d)
	}
	argv := []string{"vgcreate", "--yes", "--dataalignment", size(dataAlignment), "--physicalextentsize", size(extentBytes),
		"--addtag", tagPool + s.id, "--addtag", tagMade, name}
	group := &Group{Name: name, Extent: extentBytes, Bytes: total, Free: total, Tags: []string{tagPool + s.id, tagMade}}
	p.add("vgcreate", "make the volume group "+name+" on "+strings.Join(s.Devices, " and ")+", marked as this pool's", Exec(lvm(append(argv, s.Devices...)...)))
	return s.planVolumes(p, group, total)
}

func refuseGroup(g *Group, owner string) error {
	if owner != "" {
		return fmt.Errorf("volume group %s belongs to the pool %s already: nothing to create; see `varve-devmapper pool status`, or choose another name with --volume-group", g.Name, owner)
	}
	return fmt.Errorf("volume group %s exists and was not made by this command: choose another name with --volume-group, or leave --device away to use the group's free space", g.Name)
}

// planWipe clears what the person gave up by name.
func (s *site) planWipe(p *Plan, d *Disk) {
	if d.content() == "" || !slices.Contains(s.ForceWipe, d.Path) {
		return
	}
	p.note("%s loses what is on it: %s", d.Path, d.content())
	for _, part := range d.Partitions {
		p.add("wipe-partition", "wipe "+part+", given up by --force-wipe", Exec{"wipefs", "--all", "--force", part})
	}
	p.add("wipe", "wipe "+d.Path+", given up by --force-wipe", Exec{"wipefs", "--all", "--force", d.Node})
	if d.ThinMetadata {
		p.add("zero", "wipe the thin-pool superblock on "+d.Path, Zero{d.Node, superBytes})
	}
}

func (s *site) planGroup(p *Plan) error {
	g := s.group
	switch {
	case g == nil:
		return fmt.Errorf("--volume-group %s: there is no such group (lvm vgs lists them); with --device it is made", s.VolumeGroup)
	case g.Partial:
		return fmt.Errorf("volume group %s misses a disk: bring it back, or take it out (vgreduce --removemissing), first", g.Name)
	}
	for _, name := range []string{pool.PoolVolume, pool.CatalogVolume} {
		v := g.Volume(name)
		if v == nil {
			continue
		}
		switch o := owner(v.Tags); {
		case o == "" && s.journal == nil:
			return fmt.Errorf("volume group %s has a volume %s that was not made by this command: rename or remove it (lvremove %s/%s)", g.Name, name, g.Name, name)
		case o != "" && o != s.id:
			return refuseGroup(g, o)
		}
	}
	avail := g.Free
	if v := g.Volume(pool.CatalogVolume); v != nil {
		avail += v.Bytes // made before this creation was cut off
	}
	return s.planVolumes(p, g, avail)
}

// planVolumes makes catalog and pool in g, of which total bytes may be used.
func (s *site) planVolumes(p *Plan, g *Group, total uint64) error {
	for _, v := range g.Volumes {
		if s.leftover(g, v) {
			p.add("clear", "remove "+v.Name+", half of a step that was cut off", Exec(lvm("lvremove", "--yes", "--force", g.Name+"/"+v.Name)))
		}
	}
	if v := g.Volume(pool.CatalogVolume); v == nil {
		s.planCatalog(p, g.Name, pool.CatalogVolume)
	}
	ready, full := false, false
	if v := g.Volume(pool.PoolVolume); v == nil || s.leftover(g, *v) {
		l, err := s.layout(g, total)
		if err != nil {
			return err
		}
		for _, reason := range l.Reasons {
			p.note("%s", reason)
		}
		s.planPool(p, g.Name, l)
	} else {
		ready, full = slices.Contains(v.Tags, tagReady), v.WhenFull == s.whenFull()
	}
	if !full {
		// lvcreate refuses the option for a pool (LVM 2.03.16).
		p.add("when-full", "a write to a full pool: "+s.whenFull()+", as out_of_space says", Exec(lvm(
			"lvchange", "--errorwhenfull", map[string]string{"error": "y", "queue": "n"}[s.whenFull()], g.Name+"/"+pool.PoolVolume)))
	}
	s.planFormat(p)
	if !ready {
		p.add("ready", "mark the pool's volume as whole", Exec(lvm("lvchange", "--addtag", tagReady, g.Name+"/"+pool.PoolVolume)))
	}
	return nil
}

// whenFull is the wanted behaviour of a full pool, in LVM's word and ours.
func (s *site) whenFull() string {
	if s.Settings.OutOfSpace == "queue" {
		return "queue"
	}
	return "error"
}

// leftover is a volume that a killed LVM command of this creation left.
func (s *site) leftover(g *Group, v Volume) bool {
	if s.journal == nil && owner(g.Tags) != s.id {
		return false
	}
	switch v.Name {
	case pool.CatalogVolume:
		return false
	case pool.PoolVolume:
		return v.Type != "thin-pool"
	}
	hidden := strings.HasSuffix(v.Name, "_pmspare") || strings.HasPrefix(v.Name, pool.PoolVolume+"_t")
	return !hidden && (slices.Contains(g.Tags, tagMade) || owner(v.Tags) == s.id)
}

// planCatalog makes the catalog's volume.
func (s *site) planCatalog(p *Plan, group, name string) {
	p.add("lvcreate-catalog", "make the catalog's volume "+group+"/"+name+": linear, so that it outlives the pool's metadata", Exec(lvm(
		"lvcreate", "--yes", "--type", "linear", "--wipesignatures", "y", "--zero", "y", "--size", size(pool.CatalogBytes),
		"--addtag", tagPool+s.id, "--addtag", tagMade, "--name", name, group)))
}

func (s *site) planPool(p *Plan, group string, l layout) {
	p.add("profile", "write the LVM profile that keeps dmeventd from extending the pool: the daemon's guardian does that, and one only may", WriteFile{profilePath, profileText, 0o644})
	zero := "y"
	if s.SkipZeroing {
		zero = "n"
	}
	p.add("lvcreate-pool", "make the thin pool "+group+"/"+pool.PoolVolume+" with a spare metadata volume for repairs", Exec(lvm(
		"lvcreate", "--yes", "--type", "thin-pool", "--size", size(l.data), "--poolmetadatasize", size(l.metadata), "--poolmetadataspare", "y",
		"--chunksize", size(l.Chunk), "--zero", zero, "--discards", "passdown", "--monitor", "n",
		"--metadataprofile", profileName, "--addtag", tagPool+s.id, "--addtag", tagMade, "--name", pool.PoolVolume, group)))
}

// size is how LVM's options take bytes.
func size(n uint64) string { return strconv.FormatUint(n, 10) + "b" }

// LVM keeps a profile's name with the volume and reads the file at each use.
const (
	profileName = "varve-pool"
	profilePath = "/etc/lvm/profile/varve-pool.profile"
	profileText = `# Made by "varve-devmapper pool create" for the pools that varve-devmapper
# serves. 100 turns LVM's own extension off: the daemon's guardian watches the
# pool and extends it (extend_at in /etc/varve/devmapper.toml).
activation {
	thin_pool_autoextend_threshold=100
}
`
)
