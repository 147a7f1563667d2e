package pool

import (
	"fmt"
	"path/filepath"

	"github.com/containerd/errdefs"
)

// Kind is how a pool lies on the machine.
type Kind string

// The kinds, by the key of Config that selects them.
const (
	KindVolumeGroup Kind = "volume_group"
	KindThinPool    Kind = "thin_pool"
	KindDevices     Kind = "data_device"
	KindLoop        Kind = "loop_directory"
)

// LVM tells whether the volumes are logical volumes, which LVM activates.
func (k Kind) LVM() bool { return k == KindVolumeGroup || k == KindThinPool }

// Names and sizes that set-up and start-up share.
const (
	// PoolVolume and CatalogVolume are the logical volumes of a volume group
	// that `pool create` made.
	PoolVolume    = "varve-pool"
	CatalogVolume = "varve-catalog"
	// CatalogBytes is the size of a new catalog; of a bare pool it is the
	// range at the start of the data device, and fixed.
	CatalogBytes = 256 << 20
	// CatalogLabel is the label of the catalog's ext4.
	CatalogLabel = "varve-catalog"
	// The files of a loop directory.
	LoopData     = "data.img"
	LoopMetadata = "metadata.img"
	LoopCatalog  = "catalog.img"
)

// CatalogVolumeOf is the name of the catalog's logical volume that belongs to
// the thin-pool volume lv of the same volume group.
func CatalogVolumeOf(lv string) string {
	if lv == PoolVolume {
		return CatalogVolume
	}
	return lv + "-catalog"
}

// Volumes says where a pool lies. It is a description: having one changes
// nothing and holds nothing.
type Volumes struct {
	Kind Kind
	// Group, Pool and Catalog name logical volumes; empty without LVM.
	Group, Pool, Catalog string
	// Data, Metadata are block devices (KindDevices) or image files
	// (KindLoop); empty with LVM. CatalogFile is KindLoop's third file.
	Data, Metadata, CatalogFile string
}

// Where names the pool for a person.
func (v Volumes) Where() string {
	switch v.Kind {
	case KindVolumeGroup, KindThinPool:
		return v.Group + "/" + v.Pool
	case KindLoop:
		return filepath.Dir(v.Data)
	}
	return v.Data
}

// Describe resolves the part of c that says where the pool lies, by names
// alone: nothing is looked at. InvalidArgument names the fields at fault.
func Describe(c Config) (Volumes, error) {
	kind, err := c.kind()
	if err != nil {
		return Volumes{}, err
	}
	v := Volumes{Kind: kind}
	switch kind {
	case KindVolumeGroup:
		if !lvmName(c.VolumeGroup) {
			return Volumes{}, fmt.Errorf("volume_group = %q: no name of a volume group: %w", c.VolumeGroup, errdefs.ErrInvalidArgument)
		}
		v.Group, v.Pool, v.Catalog = c.VolumeGroup, PoolVolume, CatalogVolume
	case KindThinPool:
		group, lv, err := splitVolume(c.ThinPool)
		if err != nil {
			return Volumes{}, fmt.Errorf("thin_pool = %q: %w", c.ThinPool, err)
		}
		v.Group, v.Pool, v.Catalog = group, lv, CatalogVolumeOf(lv)
	case KindDevices:
		v.Data, v.Metadata = c.DataDevice, c.MetadataDevice
	case KindLoop:
		v.Data = filepath.Join(c.LoopDirectory, LoopData)
		v.Metadata = filepath.Join(c.LoopDirectory, LoopMetadata)
		v.CatalogFile = filepath.Join(c.LoopDirectory, LoopCatalog)
	}
	return v, nil
}
