package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/loop"
	"github.com/varve-project/varve/internal/mount"
)

// Found is a pool as it lies on the machine. Finding it changes nothing, so
// parts that are not active stay unknown.
type Found struct {
	Config  pool.Config
	Volumes pool.Volumes
	// UUID is the pool's identity, "" where nothing is there.
	UUID string
	// Group is the volume group; nil without LVM, or when it is gone.
	Group *Group
	// Catalog is the catalog's block device: of a bare pool the data device,
	// of a loop pool the loop device. "" while it is not active.
	Catalog string
	// Mounted is where the catalog is mounted, in this mount namespace.
	Mounted string
	// Owner says who owns the pool now, "" for nobody.
	Owner string
	// Live is the pool in the kernel, nil while it is not active.
	Live *live
	// Devices are those with the pool's UUID prefix, thin ones and its own.
	Devices []Mapped
	// Bytes are the sizes of a bare or loop pool's two devices.
	DataBytes, MetadataBytes uint64
}

// Mapped is a device-mapper device of the pool.
type Mapped struct {
	Name string
	// Tail is what follows the pool in its UUID: a thin id, or data, pool,
	// catalog.
	Tail string
	Open int
}

// Thin tells a thin device from those that a bare pool consists of.
func (m Mapped) Thin() bool {
	return strings.Trim(m.Tail[:min(1, len(m.Tail))], "0123456789") == "" && m.Tail != ""
}

// uuidPrefix begins the device-mapper UUIDs of a pool's devices.
func uuidPrefix(id string) string { return "VARVE-" + id + "-" }

// Find looks for the pool that c names. A pool that is gone, or not yet there,
// is found with an empty UUID.
func (h *Host) Find(ctx context.Context, c pool.Config) (*Found, error) {
	v, err := pool.Describe(c)
	if err != nil {
		return nil, err
	}
	f := &Found{Config: c, Volumes: v}
	if v.Kind.LVM() {
		err = f.lookLVM(ctx, h)
	} else {
		err = f.lookBare()
	}
	if err != nil {
		return nil, err
	}
	if err := f.lookCatalog(); err != nil {
		return nil, err
	}
	if f.UUID == "" {
		return f, nil
	}
	return f, f.lookKernel()
}

func (f *Found) lookLVM(ctx context.Context, h *Host) error {
	var err error
	if f.Group, err = h.LookGroup(ctx, f.Volumes.Group); err != nil || f.Group == nil {
		return err
	}
	if v := f.Group.Volume(f.Volumes.Pool); v != nil {
		f.UUID = owner(v.Tags)
	}
	if v := f.Group.Volume(f.Volumes.Catalog); v != nil {
		if f.UUID == "" {
			f.UUID = owner(v.Tags)
		}
		if v.Active {
			f.Catalog = dm.Path(lvmDevice(f.Group.Name, v.Name))
		}
	}
	if f.UUID == "" {
		f.UUID = owner(f.Group.Tags)
	}
	return nil
}

func (f *Found) lookBare() error {
	nodes := []string{f.Volumes.Data, f.Volumes.Metadata}
	if f.Volumes.Kind == pool.KindLoop {
		for i, path := range nodes {
			info, err := os.Stat(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			*[]*uint64{&f.DataBytes, &f.MetadataBytes}[i] = uint64(info.Size())
		}
		f.Catalog = loopOf(f.Volumes.CatalogFile)
		if f.Catalog == "" {
			f.Catalog = f.Volumes.CatalogFile
		}
		return nil
	}
	for i, node := range nodes {
		var st unix.Stat_t
		if err := unix.Stat(node, &st); err != nil {
			return fmt.Errorf("device %s: %w", node, err)
		}
		size, err := number(fmt.Sprintf("/sys/dev/block/%d:%d/size", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
		if err != nil {
			return fmt.Errorf("device %s: %w", node, err)
		}
		*[]*uint64{&f.DataBytes, &f.MetadataBytes}[i] = size * 512
	}
	f.Catalog = f.Volumes.Data
	return nil
}

// loopOf is the loop device over a file, "" without.
func loopOf(file string) string {
	found, err := loop.Find(file)
	if err != nil || len(found) == 0 {
		return ""
	}
	return found[0].Path
}

// lookCatalog reads the catalog's superblock and finds out who has it.
func (f *Found) lookCatalog() error {
	if f.Catalog == "" {
		return nil
	}
	if _, err := os.Stat(f.Catalog); errors.Is(err, fs.ErrNotExist) {
		f.Catalog = ""
		return nil
	}
	id, err := catalogOn(f.Catalog)
	if id == "" || err != nil {
		return err // not formatted yet, or gone
	}
	if f.Volumes.Kind.LVM() && f.UUID != "" && id != f.UUID {
		return fmt.Errorf("volume group %s is marked as the pool %s, and the catalog in it is of the pool %s: it was copied, or restored in part", f.Group.Name, f.UUID, id)
	}
	f.UUID = id
	return f.lookOwner()
}

// lookOwner tells who has the catalog: its lock, which lies in it, is the same
// for every mount of it.
func (f *Found) lookOwner() error {
	nodes := []string{f.Catalog}
	if !f.Volumes.Kind.LVM() {
		nodes = append(nodes, dm.Path(devicePrefix(f.UUID)+"catalog"))
	}
	for _, node := range nodes {
		var st unix.Stat_t
		if err := unix.Stat(node, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
			continue
		}
		mounts, err := mount.Of(st.Rdev)
		if err != nil {
			return err
		}
		if len(mounts) > 0 {
			f.Mounted = mounts[len(mounts)-1].Point
		}
	}
	if f.Mounted == "" {
		return nil
	}
	var err error
	f.Owner, err = lockHolder(filepath.Join(f.Mounted, ownerLock))
	return err
}

// lookKernel reads the pool's devices.
func (f *Found) lookKernel() error {
	ctl, err := dm.Open()
	if errdefs.IsNotImplemented(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = ctl.Close() }()
	all, err := ctl.List()
	if err != nil {
		return err
	}
	for _, e := range all {
		tail, ours := strings.CutPrefix(e.UUID, uuidPrefix(f.UUID))
		if !ours {
			continue
		}
		info, err := ctl.Stat(e.Name)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		f.Devices = append(f.Devices, Mapped{e.Name, tail, info.Open})
	}
	f.Live, err = lookPool(f.poolName())
	if f.Live != nil && f.Group != nil {
		if v := f.Group.Volume(f.Volumes.Pool); v != nil {
			f.Live.Metadata = dm.Path(lvmDevice(f.Group.Name, v.Metadata))
		}
	}
	if f.Live != nil && f.Group == nil {
		f.Live.Metadata = f.Volumes.Metadata
		if f.Volumes.Kind == pool.KindLoop {
			f.Live.Metadata = loopOf(f.Volumes.Metadata)
		}
	}
	return err
}

// poolName is the device-mapper name of the pool.
func (f *Found) poolName() string {
	if f.Volumes.Kind.LVM() {
		return lvmDevice(f.Volumes.Group, f.Volumes.Pool)
	}
	return devicePrefix(f.UUID) + "pool"
}

// absent is the error of a command that needs a pool where there is none.
func (f *Found) absent() error {
	return fmt.Errorf("there is no pool of ours at %s: `varve-devmapper pool create %s` makes one", f.Volumes.Where(), LocationOf(f.Config).Flags())
}

// catalogNode is a block device with the catalog; done takes it back.
func (f *Found) catalogNode() (node string, done func() error, err error) {
	none := func() error { return nil }
	if !f.Volumes.Kind.LVM() {
		// While the pool is active the catalog is a device of its own, and
		// what it lies on is claimed.
		active := dm.Path(devicePrefix(f.UUID) + "catalog")
		if _, err := os.Stat(active); err == nil {
			return active, none, nil
		}
	}
	if f.Volumes.Kind != pool.KindLoop || f.Catalog != f.Volumes.CatalogFile {
		return f.Catalog, none, nil
	}
	d, err := loop.Attach(context.Background(), f.Catalog, loop.Options{ReadOnly: true})
	if err != nil {
		return "", none, err
	}
	return d.Path, func() error { return loop.Detach(context.Background(), d) }, nil
}
