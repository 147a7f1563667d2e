package setup

import (
	"fmt"
	"slices"
	"strings"

	"github.com/varve-project/varve/devmapper/pool"
)

// planThinPool takes an existing thin-pool volume: it gets a catalog beside
// it and a mark, and is left as it is otherwise.
func (s *site) planThinPool(p *Plan) error {
	group, name, _ := strings.Cut(strings.TrimPrefix(s.ThinPool, "/dev/"), "/")
	v := s.group.Volume(name)
	if v == nil {
		return fmt.Errorf("--thin-pool %s: there is no such volume (lvm lvs lists them)", s.ThinPool)
	}
	if err := s.refuseThinPool(v); err != nil {
		return err
	}
	catalog := pool.CatalogVolumeOf(name)
	switch c := s.group.Volume(catalog); {
	case c == nil && s.group.Free < roundUp(pool.CatalogBytes, s.group.Extent):
		return fmt.Errorf("volume group %s has %s free, and the catalog needs %s: add a disk (vgextend %s /dev/…)", group, Bytes(s.group.Free), Bytes(pool.CatalogBytes), group)
	case c != nil && owner(c.Tags) != s.id:
		return fmt.Errorf("volume group %s has a volume %s that was not made by this creation: rename or remove it", group, catalog)
	case owner(v.Tags) != s.id:
		p.add("tag", "mark the pool's volume as this pool's", Exec(lvm("lvchange", "--addtag", tagPool+s.id, group+"/"+name)))
		fallthrough
	default:
		if c == nil {
			s.planCatalog(p, group, catalog)
		}
	}
	p.add("monitor", "end dmeventd's watch over the pool: the daemon's guardian extends it, and one only may", Exec(lvm("lvchange", "--monitor", "n", group+"/"+name)))
	if !v.Zero {
		p.note("the pool does not zero blocks before their first use: whoever gets a whole block device, as a VM does, can read what deleted devices left (lvchange --zero y %s/%s)", group, name)
	}
	s.planFormat(p)
	return nil
}

func (s *site) refuseThinPool(v *Volume) error {
	where := s.group.Name + "/" + v.Name
	switch o := owner(v.Tags); {
	case v.Type != "thin-pool":
		return fmt.Errorf("--thin-pool %s: this volume is of type %s; a thin pool is wanted", where, v.Type)
	case o != "" && o != s.id:
		return fmt.Errorf("--thin-pool %s: it belongs to the pool %s already; see `varve-devmapper pool status`", where, o)
	}
	for _, other := range s.group.Volumes {
		if other.Pool == v.Name {
			return fmt.Errorf("--thin-pool %s: it holds LVM's own thin volume %s, and LVM keeps a transaction id of its own: take a pool that is used for nothing else", where, other.Name)
		}
	}
	if v.TransactionID != 0 {
		return fmt.Errorf("--thin-pool %s: LVM has counted its transaction id to %d, so it held thin volumes: make a new pool (lvcreate --type thin-pool)", where, v.TransactionID)
	}
	if s.live == nil {
		return fmt.Errorf("--thin-pool %s: it is not active, so that nobody can tell what it holds: activate it first (lvchange -ay %s)", where, where)
	}
	return s.live.refuse(where)
}

// planTwoDevices makes a bare pool of two devices.
func (s *site) planTwoDevices(p *Plan) error {
	data, metadata := s.disks[0], s.disks[1]
	if data.Number == metadata.Number {
		return fmt.Errorf("--data-device %s and --metadata-device %s are one device: two are needed", data.Path, metadata.Path)
	}
	if err := s.refuseDisks(minMetadata); err != nil {
		return err
	}
	if data.Bytes < pool.CatalogBytes+minData {
		return fmt.Errorf("--data-device %s has %s; the catalog at its start takes %s and data should have %s at least", data.Path, Bytes(data.Bytes), Bytes(pool.CatalogBytes), Bytes(minData))
	}
	sizes, err := Choose(data.Bytes-pool.CatalogBytes, uint64(s.Chunk), min(metadata.Bytes, maxMetadata))
	if err != nil {
		return fmt.Errorf("--metadata-device %s: %w", metadata.Path, err)
	}
	s.chunk = sizes.Chunk
	for _, reason := range sizes.Reasons {
		p.note("%s", reason)
	}
	p.note("a pool without LVM cannot extend itself, and has no spare metadata volume: `pool repair` needs a device to write to")
	for _, d := range s.disks {
		s.planWipe(p, d)
	}
	if s.catalogUUID() != s.id {
		p.add("zero-metadata", "clear the start of "+metadata.Path+", so that the kernel makes new metadata there", Zero{metadata.Node, superBytes})
	}
	s.planFormat(p)
	return nil
}

// catalogUUID is that of the catalog on a bare pool's data device.
func (s *site) catalogUUID() string { return s.disks[0].catalog() }

// planFiles makes a pool of files, to try things out.
func (s *site) planFiles(p *Plan) error {
	known := []string{pool.LoopData, pool.LoopMetadata, pool.LoopCatalog}
	for _, name := range s.files.names {
		switch {
		case !slices.Contains(known, name):
			return fmt.Errorf("--loop-directory %s is not empty, it has %s: name a folder of its own", s.LoopDirectory, name)
		case s.journal == nil:
			return fmt.Errorf("--loop-directory %s holds a pool's files (%s) already: use it as it is, or destroy it (varve-devmapper pool destroy)", s.LoopDirectory, name)
		}
	}
	sizes, err := Choose(uint64(s.Size), uint64(s.Chunk), uint64(s.Metadata))
	if err != nil {
		return err
	}
	s.chunk = sizes.Chunk
	p.note("WARNING: a pool on loop files is for trying out, NEVER for production: the files are sparse, and when the host's file system is full every write of the pool fails and what was not synced is lost; each write goes through two file systems; a crash of the host can hurt both")
	for _, reason := range sizes.Reasons {
		p.note("%s", reason)
	}
	v, err := pool.Describe(s.location())
	if err != nil {
		return err
	}
	p.add("file-catalog", "make the catalog's file", MakeFile{v.CatalogFile, pool.CatalogBytes})
	p.add("file-metadata", "make the metadata's file", MakeFile{v.Metadata, sizes.Metadata})
	p.add("file-data", "make the data's file, sparse", MakeFile{v.Data, roundUp(uint64(s.Size), sizes.Chunk)})
	s.planFormat(p)
	return nil
}
