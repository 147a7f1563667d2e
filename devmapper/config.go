package devmapper

import (
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/format"
	"github.com/varve-project/varve/internal/mount"
	"github.com/varve-project/varve/internal/service"
)

// Config is the driver's part of the daemon's configuration.
type Config struct {
	FileSystem     string           `toml:"file_system" comment:"ext4 or xfs: what a snapshot without parent gets, unless its label containerd.io/snapshot/devmapper/fstype says otherwise."`
	BaseSize       Size             `toml:"base_size" comment:"Size of a snapshot's file system without the label max-size. It costs no space until it is written. A file system never shrinks: a max-size below its parent's size is refused. When this grows, so does every snapshot that is prepared from then on."`
	Ext4Options    []string         `toml:"ext4_options" comment:"Further options of mkfs.ext4, such as [\"-i\", \"8192\"]."`
	XFSOptions     []string         `toml:"xfs_options" comment:"Further options of mkfs.xfs."`
	MkfsTimeout    service.Duration `toml:"mkfs_timeout" comment:"How long mkfs may take. It runs once for each file system, set of options and size."`
	MountOptions   []string         `toml:"mount_options" comment:"Further options of every mount, such as \"noatime\"."`
	OnlineDiscard  bool             `toml:"online_discard" comment:"Mount with discard: what a running container deletes goes back to the pool at once, at the price of slower deletion. What a removed snapshot held goes back in any case."`
	SpareTemplates int              `toml:"spare_templates" comment:"How many formatted templates of other sizes and file systems are kept besides the default one."`
	TrashRate      int              `toml:"trash_rate" comment:"Thin devices per second that are deleted behind a Remove; 0 is no limit. It is lifted while the pool is short of space and while somebody waits in Cleanup."`
}

// DefaultConfig is what is shipped.
func DefaultConfig() Config {
	return Config{
		FileSystem:     mount.Ext4,
		BaseSize:       10 << 30,
		MkfsTimeout:    service.Duration(5 * time.Minute),
		SpareTemplates: 8,
		TrashRate:      100,
	}
}

// granule is what sizes are rounded down to: both file systems count in such
// blocks.
const granule = 4096

// ownOptions are mount options that the driver sets itself; an operator's
// other value would break what it promises.
var ownOptions = map[string]string{
	"ro": "a View is read-only, anything else is not", "rw": "a View is read-only, anything else is not",
	"nouuid":     "it is set on every xfs, whose snapshots share one UUID",
	"discard":    "set online_discard",
	"nodiscard":  "set online_discard",
	"norecovery": "a snapshot's journal must be replayed", "noload": "a snapshot's journal must be replayed",
	"uidmap": "it comes from the snapshot's labels", "gidmap": "it comes from the snapshot's labels",
	"bind": "these are mounts of devices", "rbind": "these are mounts of devices",
	"remount": "these are new mounts", "loop": "these are mounts of devices",
}

// Check refuses values that cannot work; the error names the key.
func (c Config) Check() error {
	if format.Smallest(c.FileSystem) == 0 {
		return bad("file_system", c.FileSystem, "take one of "+strings.Join(format.Types(), ", "))
	}
	switch least := format.Smallest(c.FileSystem); {
	case int64(c.BaseSize) < least:
		return bad("base_size", c.BaseSize.String(), fmt.Sprintf("an %s takes %s at least", c.FileSystem, Size(least)))
	case c.BaseSize%granule != 0:
		return bad("base_size", c.BaseSize.String(), fmt.Sprintf("take a multiple of %d bytes", granule))
	case c.MkfsTimeout <= 0:
		return bad("mkfs_timeout", c.MkfsTimeout.String(), "take a time above zero, such as 5m")
	case c.SpareTemplates < 0:
		return bad("spare_templates", fmt.Sprint(c.SpareTemplates), "take 0 or more")
	case c.TrashRate < 0:
		return bad("trash_rate", fmt.Sprint(c.TrashRate), "take 0 (no limit) or more")
	}
	if err := format.CheckOptions(mount.Ext4, c.Ext4Options); err != nil {
		return bad("ext4_options", strings.Join(c.Ext4Options, " "), err.Error())
	}
	if err := format.CheckOptions(mount.XFS, c.XFSOptions); err != nil {
		return bad("xfs_options", strings.Join(c.XFSOptions, " "), err.Error())
	}
	for _, o := range c.MountOptions {
		name, _, _ := strings.Cut(o, "=")
		if why, own := ownOptions[name]; own {
			return bad("mount_options", o, why+"; take it out")
		}
		if o == "" || strings.ContainsAny(o, ",\x00\n") || strings.HasPrefix(o, "X-containerd.") {
			return bad("mount_options", o, "is not one mount option; write a list of single options")
		}
	}
	return nil
}

// mkfs are the operator's options for a file system.
func (c Config) mkfs(fsType string) []string {
	if fsType == mount.XFS {
		return c.XFSOptions
	}
	return c.Ext4Options
}

func bad(key, value, why string) error {
	return fmt.Errorf("%s = %q: %s: %w", key, value, why, errdefs.ErrInvalidArgument)
}
