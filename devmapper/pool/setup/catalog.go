package setup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/mount"
)

// Offsets in the ext4 superblock (kernel doc filesystems/ext4/super.rst).
const (
	extStart = 1024
	extMagic = 0x38
	extUUID  = 0x68
	extLabel = 0x78
)

// catalogOn is the UUID of the catalog that begins at the start of a device or
// image; "" where there is none.
func catalogOn(node string) (string, error) {
	f, err := os.Open(node)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var super [extLabel + 16]byte
	if _, err := f.ReadAt(super[:], extStart); errors.Is(err, io.EOF) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("look for a catalog on %s: %w", node, err)
	}
	label := string(bytes.TrimRight(super[extLabel:], "\x00"))
	if binary.LittleEndian.Uint16(super[extMagic:]) != 0xef53 || label != pool.CatalogLabel {
		return "", nil
	}
	id, err := uuid.FromBytes(super[extUUID : extUUID+16])
	return id.String(), err
}

// Record is what these commands read of a catalog's pool.json.
type Record struct {
	UUID          string   `json:"uuid"`
	BlockBytes    uint64   `json:"blockBytes"`
	DataBytes     uint64   `json:"dataBytes"`
	TransactionID uint64   `json:"transactionID"`
	Moving        uint64   `json:"moving"`
	NextID        uint32   `json:"nextID"`
	Foreign       []uint32 `json:"foreign"`
}

// Room is how full the catalog is, in bytes.
type Room struct {
	Used  uint64 `json:"used"`
	Total uint64 `json:"total"`
}

// withCatalog calls fn with the folder of the catalog's files: where it is
// mounted, or mounted read-only for the moment, without replaying its journal,
// so that nothing at all is written.
func (f *Found) withCatalog(fn func(dir string) error) (err error) {
	if f.Mounted != "" {
		return fn(f.Mounted)
	}
	if f.Catalog == "" {
		return errors.New("the catalog is not active, so that its records cannot be read; start the daemon, or activate its volume")
	}
	dir, err := os.MkdirTemp("", "varve-catalog-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	node, done, err := f.catalogNode()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	if err := mount.Device(node, dir, mount.Ext4, mount.Options{Flags: unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC, Data: "noload"}); err != nil {
		return err
	}
	defer func() { err = errors.Join(mount.Unmount(dir), err) }()
	return fn(dir)
}

// readRecord reads pool.json and the catalog's fill.
func (f *Found) readRecord() (r Record, room Room, err error) {
	err = f.withCatalog(func(dir string) error {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return fmt.Errorf("fill of the catalog: %w", err)
		}
		room = Room{Used: (st.Blocks - st.Bfree) * uint64(st.Bsize), Total: st.Blocks * uint64(st.Bsize)}
		return atomicfile.ReadJSON(filepath.Join(dir, "pool.json"), &r)
	})
	if err != nil {
		return r, room, fmt.Errorf("the catalog of %s: %w", f.Volumes.Where(), err)
	}
	return r, room, nil
}
