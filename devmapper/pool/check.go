package pool

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
)

// Out-of-space behaviours of Config.OutOfSpace.
const (
	outOfSpaceError = "error"
	outOfSpaceQueue = "queue"
)

// lvmNames is what lvm(8) allows in names of groups and volumes.
var lvmNames = regexp.MustCompile(`^[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]*$`)

func lvmName(s string) bool {
	return len(s) < 128 && lvmNames.MatchString(s) && s != "." && s != ".."
}

func splitVolume(s string) (group, lv string, err error) {
	group, lv, ok := strings.Cut(strings.TrimPrefix(s, "/dev/"), "/")
	if !ok || !lvmName(group) || !lvmName(lv) {
		return "", "", fmt.Errorf("want GROUP/VOLUME: %w", errdefs.ErrInvalidArgument)
	}
	return group, lv, nil
}

// kind finds the one way in which c says where the pool lies.
func (c Config) kind() (Kind, error) {
	var kinds []string
	for _, k := range []struct {
		kind Kind
		set  bool
	}{
		{KindVolumeGroup, c.VolumeGroup != ""},
		{KindThinPool, c.ThinPool != ""},
		{KindDevices, c.DataDevice != "" || c.MetadataDevice != ""},
		{KindLoop, c.LoopDirectory != ""},
	} {
		if k.set {
			kinds = append(kinds, string(k.kind))
		}
	}
	switch len(kinds) {
	case 0:
		return "", fmt.Errorf("no pool is configured: set volume_group, thin_pool, data_device with metadata_device, or loop_directory; `varve-devmapper pool create` makes a pool: %w", errdefs.ErrInvalidArgument)
	case 1:
	default:
		return "", fmt.Errorf("%s: one pool only, keep one of them: %w", strings.Join(kinds, " and "), errdefs.ErrInvalidArgument)
	}
	return Kind(kinds[0]), c.checkPaths()
}

func (c Config) checkPaths() error {
	if (c.DataDevice == "") != (c.MetadataDevice == "") {
		return fmt.Errorf("data_device = %q, metadata_device = %q: a pool without LVM needs both: %w", c.DataDevice, c.MetadataDevice, errdefs.ErrInvalidArgument)
	}
	if c.DataDevice != "" && c.DataDevice == c.MetadataDevice {
		return fmt.Errorf("data_device and metadata_device are both %s: two devices are needed: %w", c.DataDevice, errdefs.ErrInvalidArgument)
	}
	for key, path := range map[string]string{"data_device": c.DataDevice, "metadata_device": c.MetadataDevice, "loop_directory": c.LoopDirectory} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("%s = %q: not an absolute path: %w", key, path, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// Check tells what is wrong in c, field by field. It looks at no device.
func (c Config) Check() error {
	if _, err := Describe(c); err != nil {
		return err
	}
	for _, f := range []struct {
		key   string
		value int
		max   int
	}{
		{"min_free_data", c.MinFreeData, 90},
		{"min_free_metadata", c.MinFreeMetadata, 90},
		{"extend_at", c.ExtendAt, 99},
		{"extend_by", c.ExtendBy, 1000},
	} {
		if f.value < 0 || f.value > f.max {
			return fmt.Errorf("%s = %d: want 0 to %d (percent): %w", f.key, f.value, f.max, errdefs.ErrInvalidArgument)
		}
	}
	if c.ExtendAt > 0 && c.ExtendBy == 0 {
		return fmt.Errorf("extend_at = %d with extend_by = 0: say by how many percent the pool shall grow: %w", c.ExtendAt, errdefs.ErrInvalidArgument)
	}
	switch c.OutOfSpace {
	case outOfSpaceError, outOfSpaceQueue:
	default:
		return fmt.Errorf("out_of_space = %q: want %q or %q: %w", c.OutOfSpace, outOfSpaceError, outOfSpaceQueue, errdefs.ErrInvalidArgument)
	}
	if c.QueueFor < 0 {
		return fmt.Errorf("queue_for = %s: want a duration of 0 or more: %w", c.QueueFor, errdefs.ErrInvalidArgument)
	}
	return nil
}
