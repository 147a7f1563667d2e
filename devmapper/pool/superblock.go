package pool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"

	"github.com/varve-project/varve/internal/mount"
)

// Offsets in the ext4 superblock, which begins at byte 1,024 of the catalog
// (kernel doc filesystems/ext4/super.rst).
const (
	extStart = 1024
	extUUID  = 0x68
	extLabel = 0x78
)

// catalogSuper is what tells a catalog from any other file system.
type catalogSuper struct {
	uuid  string
	bytes uint64
	// errors: the kernel met errors in this file system.
	errors bool
}

// errNoCatalog means that a device holds no catalog of ours.
var errNoCatalog = errors.New("there is no catalog on it")

// readCatalogSuper recognises a catalog at the start of the device node.
func readCatalogSuper(node string) (catalogSuper, error) {
	f, err := os.Open(node)
	if err != nil {
		return catalogSuper{}, fmt.Errorf("look for the catalog: %w", err)
	}
	defer f.Close()
	c, err := parseCatalogSuper(f)
	if err != nil {
		return c, fmt.Errorf("look for the catalog on %s: %w", node, err)
	}
	return c, nil
}

func parseCatalogSuper(r io.ReaderAt) (catalogSuper, error) {
	super, err := mount.ReadSuper(r)
	if err != nil {
		return catalogSuper{}, err
	}
	var head [extLabel + 16]byte
	if _, err := r.ReadAt(head[:], extStart); err != nil && !errors.Is(err, io.EOF) {
		return catalogSuper{}, err
	}
	label := strings.TrimRight(string(head[extLabel:]), "\x00")
	if super.FSType != mount.Ext4 || label != CatalogLabel {
		return catalogSuper{}, fmt.Errorf("no ext4 with the label %s: %w (%w)", CatalogLabel, errNoCatalog, errdefs.ErrFailedPrecondition)
	}
	id, err := uuid.FromBytes(head[extUUID : extUUID+16])
	if err != nil {
		return catalogSuper{}, err
	}
	return catalogSuper{uuid: id.String(), bytes: uint64(super.Size), errors: super.Errors}, nil
}

// What identifies the superblock of thin-pool metadata (struct
// thin_disk_superblock in drivers/md/dm-thin-metadata.c).
const (
	thinMagicAt = 32
	thinMagic   = 27022010
)

// metadataState is what the start of a metadata device shows.
type metadataState int

const (
	metadataBlank metadataState = iota // the kernel would format it
	metadataThin
	metadataForeign
)

// readMetadataState looks at block 0 of a metadata device.
func readMetadataState(node string) (metadataState, error) {
	f, err := os.Open(node)
	if err != nil {
		return 0, fmt.Errorf("look at the pool's metadata: %w", err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	if _, err := f.ReadAt(block, 0); err != nil {
		return 0, fmt.Errorf("look at the pool's metadata on %s: %w", node, err)
	}
	switch {
	case binary.LittleEndian.Uint64(block[thinMagicAt:]) == thinMagic:
		return metadataThin, nil
	case isZero(block):
		return metadataBlank, nil
	}
	return metadataForeign, nil
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
