package setup

import (
	"fmt"
	"slices"
	"strings"
)

// Disk is what Look found of a block device.
type Disk struct {
	// Path is as it was given, Node where its symbolic links lead.
	Path string `json:"path"`
	Node string `json:"node"`
	// Number is st_rdev, "MAJOR:MINOR" as /sys writes it.
	Number   string `json:"number"`
	Bytes    uint64 `json:"bytes"`
	ReadOnly bool   `json:"readOnly"`
	// Signatures are what wipefs knows to be on it; Catalog is the pool that
	// lies on it, where one of them is a catalog's.
	Signatures []Signature `json:"signatures,omitempty"`
	// ThinMetadata: its first block is a thin pool's superblock, which wipefs
	// does not know.
	ThinMetadata bool `json:"thinMetadata,omitempty"`
	// Partitions are the nodes of those that the kernel sees on it.
	Partitions []string `json:"partitions,omitempty"`
	// Holders are devices made of it or of its partitions.
	Holders []string `json:"holders,omitempty"`
	// Mounts are where it or a partition is mounted, Swap which is swapped on.
	Mounts []string `json:"mounts,omitempty"`
	Swap   []string `json:"swap,omitempty"`
	// Claimed is the error of opening it exclusively, "" where that worked.
	Claimed string `json:"claimed,omitempty"`
	// Group is the volume group whose physical volume it is; PV is true also
	// of a physical volume without a group.
	Group string `json:"group,omitempty"`
	PV    bool   `json:"pv,omitempty"`
	// Owner is the pool whose mark the group bears.
	Owner string `json:"owner,omitempty"`
}

// Signature is one magic string on a device.
type Signature struct {
	Type   string `json:"type"`
	Offset string `json:"offset"`
	UUID   string `json:"uuid"`
	Label  string `json:"label"`
}

// refuse says why a disk may not be taken, nil when it may. force is the list
// of devices whose content the person gave up by name. What is in use now is
// never given up by that.
func (d *Disk) refuse(least uint64, force []string) error {
	if d.Owner != "" {
		return fmt.Errorf("%s belongs to the pool %s already, in the volume group %s; see `varve-devmapper pool status`, or take that pool apart first (varve-devmapper pool destroy)", d.Path, d.Owner, d.Group)
	}
	if id := d.catalog(); id != "" && len(d.Holders) > 0 {
		return fmt.Errorf("%s belongs to the pool %s already, which is active; see `varve-devmapper pool status`, or take that pool apart first (varve-devmapper pool destroy)", d.Path, id)
	}
	if err := d.inUse(); err != nil {
		return err
	}
	switch {
	case d.ReadOnly:
		return fmt.Errorf("%s is read-only: take another device, or make it writable (blockdev --setrw %s)", d.Path, d.Path)
	case d.Bytes < least:
		return fmt.Errorf("%s has %s, and a pool on it needs %s at least: take a larger device", d.Path, Bytes(d.Bytes), Bytes(least))
	case d.Group != "":
		return fmt.Errorf("%s is a physical volume of the volume group %s: use the group's free space (--volume-group %s), or take the disk out of it first (vgreduce %s %s)",
			d.Path, d.Group, d.Group, d.Group, d.Path)
	}
	if found := d.content(); found != "" && !slices.Contains(force, d.Path) {
		return fmt.Errorf("%s is not empty, it has %s; if nothing on it is needed any more, say so with --force-wipe %s", d.Path, found, d.Path)
	}
	return nil
}

// inUse refuses what cannot be given up by name: something would break now.
func (d *Disk) inUse() error {
	for _, use := range []struct {
		how    string
		list   []string
		remedy string
	}{
		{"is mounted on", d.Mounts, "unmount it first"},
		{"is used as swap:", d.Swap, "swapoff first"},
		{"is part of", d.Holders, "take that apart first (lsblk shows it)"},
	} {
		if len(use.list) > 0 {
			return fmt.Errorf("%s %s %s: %s; --force-wipe does not help while it is in use", d.Path, use.how, strings.Join(use.list, ", "), use.remedy)
		}
	}
	if d.Claimed != "" {
		return fmt.Errorf("%s is in use: opening it exclusively failed (%s); find the user with: lsblk %s; fuser -v %s", d.Path, d.Claimed, d.Path, d.Path)
	}
	return nil
}

// content says in words what is on the disk, "" where nothing is.
func (d *Disk) content() string {
	var found []string
	if owner := d.catalog(); owner != "" {
		found = append(found, "the pool "+owner)
	}
	if d.ThinMetadata {
		found = append(found, "the metadata of a thin pool")
	}
	if len(d.Partitions) > 0 {
		found = append(found, "the partitions "+strings.Join(d.Partitions, ", "))
	}
	var types []string
	for _, s := range d.Signatures {
		if !slices.Contains(types, s.Type) {
			types = append(types, s.Type)
		}
	}
	if len(types) > 0 {
		found = append(found, "the signature of "+strings.Join(types, ", "))
	}
	return strings.Join(found, " and ")
}

// catalog is the UUID of the pool whose catalog lies on the disk itself (a
// bare pool's data device), "" without.
func (d *Disk) catalog() string {
	for _, s := range d.Signatures {
		if s.Label == catalogLabel {
			return s.UUID
		}
	}
	return ""
}
