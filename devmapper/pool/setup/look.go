package setup

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/internal/mount"
)

const catalogLabel = pool.CatalogLabel

// Look inspects a block device and changes nothing on it. It does not ask LVM;
// see claimPVs.
func (h *Host) Look(ctx context.Context, path string) (*Disk, error) {
	d := &Disk{Path: path}
	var err error
	if d.Node, err = filepath.EvalSymlinks(path); err != nil {
		return nil, fmt.Errorf("device %s: %w; `lsblk -p` lists those there are", path, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(d.Node, &st); err != nil {
		return nil, fmt.Errorf("device %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return nil, fmt.Errorf("device %s: not a block device; give a whole disk or a partition, as `lsblk -p` names it", path)
	}
	d.Number = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	for _, step := range []func() error{
		d.readSys, d.readUses, d.claim, d.readFirstBlock,
		func() error { return d.readSignatures(ctx, h) },
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("device %s: %w", path, err)
		}
	}
	return d, nil
}

// readSys reads size, mode, partitions and holders from /sys.
func (d *Disk) readSys() error {
	dir := "/sys/dev/block/" + d.Number
	size, err := number(filepath.Join(dir, "size"))
	if err != nil {
		return err
	}
	d.Bytes = size * 512
	readOnly, err := number(filepath.Join(dir, "ro"))
	if err != nil {
		return err
	}
	d.ReadOnly = readOnly != 0
	parts, err := filepath.Glob(filepath.Join(dir, "*", "partition"))
	if err != nil {
		return err
	}
	for _, p := range parts {
		d.Partitions = append(d.Partitions, "/dev/"+filepath.Base(filepath.Dir(p)))
	}
	holders, err := filepath.Glob(filepath.Join(dir, "holders", "*"))
	if err != nil {
		return err
	}
	more, err := filepath.Glob(filepath.Join(dir, "*", "holders", "*"))
	if err != nil {
		return err
	}
	for _, holder := range append(holders, more...) {
		d.Holders = append(d.Holders, holderName(filepath.Base(holder)))
	}
	return nil
}

// holderName is what people call a holder: device-mapper's name where it has one.
func holderName(kernel string) string {
	name, err := os.ReadFile(filepath.Join("/sys/block", kernel, "dm/name"))
	if err != nil {
		return "/dev/" + kernel
	}
	return "/dev/mapper/" + strings.TrimSpace(string(name))
}

func number(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// readUses finds mounts and swap of the device and of its partitions.
func (d *Disk) readUses() error {
	swaps, err := os.ReadFile("/proc/swaps")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, node := range append([]string{d.Node}, d.Partitions...) {
		var st unix.Stat_t
		if err := unix.Stat(node, &st); errors.Is(err, unix.ENOENT) {
			continue
		} else if err != nil {
			return fmt.Errorf("%s: %w", node, err)
		}
		mounts, err := mount.Of(st.Rdev)
		if err != nil {
			return err
		}
		for _, m := range mounts {
			d.Mounts = append(d.Mounts, m.Point)
		}
		for line := range strings.Lines(string(swaps)) {
			if fields := strings.Fields(line); len(fields) > 0 && fields[0] == node {
				d.Swap = append(d.Swap, node)
			}
		}
	}
	return nil
}

// claim opens the device as a mount or a holder would: that fails while there
// is one in any mount namespace, which the mount table cannot tell.
func (d *Disk) claim() error {
	f, err := os.OpenFile(d.Node, os.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		d.Claimed = unix.EBUSY.Error()
		return nil
	case err != nil:
		return err
	}
	return f.Close()
}

// thinMagic is THIN_SUPERBLOCK_MAGIC of drivers/md/dm-thin-metadata.c, behind
// csum, flags, blocknr and uuid.
const (
	thinMagic   = 27022010
	thinMagicAt = 32
)

func (d *Disk) readFirstBlock() error {
	f, err := os.Open(d.Node)
	if err != nil {
		return err
	}
	defer f.Close()
	var head [thinMagicAt + 8]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return fmt.Errorf("read its first block: %w", err)
	}
	d.ThinMetadata = binary.LittleEndian.Uint64(head[thinMagicAt:]) == thinMagic
	return nil
}

func (d *Disk) readSignatures(ctx context.Context, h *Host) error {
	out, err := h.run(ctx, "wipefs", "--no-act", "--json", d.Node)
	if err != nil {
		return fmt.Errorf("look for signatures: %w", err)
	}
	d.Signatures, err = parseSignatures(out)
	return err
}

// parseSignatures reads wipefs(8)'s JSON; a blank device prints nothing.
func parseSignatures(out []byte) ([]Signature, error) {
	if len(strings.TrimSpace(string(out))) == 0 {
		return nil, nil
	}
	var report struct {
		Signatures []Signature `json:"signatures"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return nil, fmt.Errorf("output of wipefs: %w", err)
	}
	return report.Signatures, nil
}
