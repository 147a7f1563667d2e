package pool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/mount"
)

// Identity is what a new pool's catalog is made with.
type Identity struct {
	// UUID becomes the identity of the pool; see NewUUID.
	UUID string
	// Node is the block device of the catalog, or of a bare pool the data
	// device, at whose start it comes to lie.
	Node string
	// Bytes is the catalog's size, a multiple of 1 MiB; all of Node without
	// a bare pool.
	Bytes uint64
	// BlockBytes is the block size of the pool.
	BlockBytes uint64
	// Volume is the LVM UUID of the pool's logical volume; "" without LVM.
	Volume string
	// Zero: blocks of a pool without LVM are zeroed before their first use.
	// File systems do not need it; raw block devices for several tenants do.
	Zero bool
}

// NewUUID makes an identity.
func NewUUID() string { return uuid.NewString() }

// FormatCatalog makes the catalog of a new pool: the file system, and the
// record with no thin id given out. It formats only where the first MiB is
// zero, or where a formatting with the same UUID was cut off; it wipes
// nothing. Repeating it is harmless: the record of a pool that was started is
// left alone. It needs mkfs.ext4 and executes it.
//
// Errors: InvalidArgument (a field of Identity), FailedPrecondition (Node is
// not blank).
func FormatCatalog(ctx context.Context, i Identity) error {
	if err := i.check(); err != nil {
		return fmt.Errorf("format the catalog: %w", err)
	}
	super, err := readCatalogSuper(i.Node)
	switch {
	case err == nil && super.uuid == i.UUID:
	case err == nil:
		return fmt.Errorf("format the catalog: %s holds the catalog of the pool %s: %w", i.Node, super.uuid, errdefs.ErrFailedPrecondition)
	case !errors.Is(err, errNoCatalog):
		return fmt.Errorf("format the catalog: %w", err)
	default:
		if err := makeCatalog(ctx, i); err != nil {
			return fmt.Errorf("format the catalog: %w", err)
		}
	}
	return writeFirstRecord(i)
}

func (i Identity) check() error {
	if _, err := uuid.Parse(i.UUID); err != nil {
		return fmt.Errorf("uuid %q: %w (%w)", i.UUID, err, errdefs.ErrInvalidArgument)
	}
	if i.Bytes < 16<<20 || i.Bytes%(1<<20) != 0 {
		return fmt.Errorf("a size of %d bytes is not a multiple of 1 MiB from 16 MiB up: %w", i.Bytes, errdefs.ErrInvalidArgument)
	}
	return i.record().check("the pool's record")
}

func (i Identity) record() record {
	return record{Version: recordVersion, UUID: i.UUID, Volume: i.Volume, BlockBytes: i.BlockBytes, Zero: i.Zero, NextID: 1}
}

// makeCatalog runs mkfs.ext4 on a device that nobody has claimed and that is
// blank.
func makeCatalog(ctx context.Context, i Identity) error {
	f, err := os.OpenFile(i.Node, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		return fmt.Errorf("it is in use: %w", err)
	}
	head := make([]byte, 1<<20)
	_, err = io.ReadFull(f, head)
	if err == nil && !isZero(head) {
		err = fmt.Errorf("%s is not blank: wipe it first: %w", i.Node, errdefs.ErrFailedPrecondition)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return execMkfs(ctx, "mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-L", CatalogLabel, "-U", i.UUID,
		"-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", i.Node, strconv.FormatUint(i.Bytes>>10, 10)+"k")
}

func execMkfs(ctx context.Context, name string, arg ...string) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, name, arg...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}

// writeFirstRecord puts pool.json into the catalog, unless it is there.
func writeFirstRecord(i Identity) (err error) {
	dir, err := os.MkdirTemp("", "varve-catalog-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if err := mount.Device(i.Node, dir, mount.Ext4, catalogOptions); err != nil {
		return fmt.Errorf("write the pool's record: %w", err)
	}
	defer func() { err = errors.Join(err, mount.Unmount(dir)) }()
	path := filepath.Join(dir, recordFile)
	if _, err := os.Stat(path); err == nil {
		_, err := openLedger(dir)
		return err
	}
	return atomicfile.WriteJSON(path, i.record())
}
