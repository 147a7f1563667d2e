package pool

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/dm"
)

// poolTable is the table of a thin-pool target: "METADATA DATA BLOCK LOWWATER
// COUNT FEATURE…" (kernel doc thin-provisioning.rst).
type poolTable struct {
	// metadata and data are "MAJOR:MINOR".
	metadata, data string
	blockBytes     uint64
	lowWater       uint64 // blocks
	bytes          uint64 // of the data space
	zero           bool
	errorIfFull    bool
}

// target is the table as the kernel takes it.
func (t poolTable) target() dm.Target {
	var features []string
	if !t.zero {
		features = append(features, "skip_block_zeroing")
	}
	if t.errorIfFull {
		features = append(features, "error_if_no_space")
	}
	params := fmt.Sprintf("%s %s %d %d %d", t.metadata, t.data, t.blockBytes/sector, t.lowWater, len(features))
	return dm.Target{
		Length: t.bytes / t.blockBytes * (t.blockBytes / sector), Type: targetPool,
		Params: strings.Join(append([]string{params}, features...), " "),
	}
}

// parsePoolTable reads the table of a device that must be a thin pool.
func parsePoolTable(targets []dm.Target) (poolTable, error) {
	if len(targets) != 1 || targets[0].Type != targetPool {
		return poolTable{}, fmt.Errorf("it is no thin pool: %w", errdefs.ErrFailedPrecondition)
	}
	words := strings.Fields(targets[0].Params)
	if len(words) < 4 {
		return poolTable{}, fmt.Errorf("thin-pool table %q: %d words, want 4 or more", targets[0].Params, len(words))
	}
	block, err := strconv.ParseUint(words[2], 10, 32)
	if err != nil || block == 0 {
		return poolTable{}, fmt.Errorf("thin-pool table %q: block size %q", targets[0].Params, words[2])
	}
	low, err := strconv.ParseUint(words[3], 10, 64)
	if err != nil {
		return poolTable{}, fmt.Errorf("thin-pool table %q: low water mark %q", targets[0].Params, words[3])
	}
	t := poolTable{
		metadata: words[0], data: words[1], blockBytes: block * sector, lowWater: low,
		bytes: targets[0].Length * sector, zero: true,
	}
	for _, w := range words[4:] {
		switch w {
		case "skip_block_zeroing":
			t.zero = false
		case "error_if_no_space":
			t.errorIfFull = true
		}
	}
	return t, nil
}

// nodeOf is the node of a block device that is known by its number. The
// kernel's devtmpfs has one for each, whatever udev does.
func nodeOf(number string) (string, error) {
	f, err := os.Open("/sys/dev/block/" + number + "/uevent")
	if err != nil {
		return "", fmt.Errorf("block device %s: %w", number, err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "DEVNAME="); ok {
			return "/dev/" + name, nil
		}
	}
	return "", fmt.Errorf("block device %s has no name in /sys: %w", number, errdefs.ErrNotFound)
}

// numberOf is "MAJOR:MINOR" of a block device's node.
func numberOf(node string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err != nil {
		return "", fmt.Errorf("device %s: %w", node, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fmt.Errorf("%s is not a block device: %w", node, errdefs.ErrInvalidArgument)
	}
	return devNumber(unix.Major(st.Rdev), unix.Minor(st.Rdev)), nil
}

// sizeOf is the size of a block device in bytes.
func sizeOf(node string) (uint64, error) {
	f, err := os.Open(node)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", node, err)
	}
	return uint64(end), nil
}
