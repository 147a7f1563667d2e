package overlay

import (
	"fmt"
	"math"
	"strings"

	"github.com/containerd/errdefs"
)

// Config is the driver's part of the daemon's configuration.
type Config struct {
	SyncCommit         bool     `toml:"sync_commit" comment:"Write a snapshot's data to the disk before it counts as committed, so that a power cut cannot leave a committed snapshot without its files."`
	UpperdirLabel      bool     `toml:"upperdir_label" comment:"Report where a snapshot's own files are in the label containerd.io/snapshot/overlay.upperdir."`
	MountOptions       []string `toml:"mount_options" comment:"Further options of every overlay mount, such as \"volatile\" or \"xino=on\"."`
	Quota              string   `toml:"quota" comment:"auto: use project quotas where the file system counts them. off: never. require: do not start without."`
	ProjectIDFirst     uint32   `toml:"project_id_first" comment:"First of the project ids that snapshots may take. Ids in use by others are left alone. Two daemons on one file system need ranges apart."`
	ProjectIDLast      uint32   `toml:"project_id_last" comment:"Last of the project ids that snapshots may take."`
	MaxSizeUnsupported string   `toml:"max_size_unsupported" comment:"What to do with a max-size label where no quota can enforce it. refuse: Prepare fails. warn: log a warning and go on without a limit."`
	TrashRate          int      `toml:"trash_rate" comment:"Files per second that are deleted behind a Remove; 0 is no limit."`
	TrashFreePercent   int      `toml:"trash_free_percent" comment:"The limit of trash_rate is lifted while less than this share of the file system is free."`
}

// DefaultConfig is what is shipped.
func DefaultConfig() Config {
	return Config{
		SyncCommit:         true,
		Quota:              "auto",
		ProjectIDFirst:     1_200_000_000,
		ProjectIDLast:      1_200_999_999,
		MaxSizeUnsupported: "refuse",
		TrashRate:          20_000,
		TrashFreePercent:   15,
	}
}

// ownOptions are the overlay options that the driver sets itself; an
// operator's other value would break what it promises.
var ownOptions = map[string]string{
	"lowerdir":            "the driver sets it",
	"lowerdir+":           "the driver sets it",
	"datadir+":            "it needs metacopy, which stays off: layers may carry metacopy attributes of their own",
	"upperdir":            "the driver sets it",
	"workdir":             "the driver sets it",
	"redirect_dir":        "it stays at nofollow: layers may carry redirects of their own",
	"metacopy":            "it stays off: layers may carry metacopy attributes of their own",
	"index":               "it stays off: a layer serves many mounts at once",
	"nfs_export":          "it needs index, which stays off",
	"verity":              "it needs metacopy, which stays off",
	"userxattr":           "the driver sets it inside a user namespace",
	"override_creds":      "it is Android's",
	"uidmap":              "it comes from the snapshot's labels",
	"gidmap":              "it comes from the snapshot's labels",
	"ro":                  "a View is read-only, anything else is not",
	"rw":                  "a View is read-only, anything else is not",
	"bind":                "these are overlay mounts",
	"rbind":               "these are overlay mounts",
	"remount":             "these are new mounts",
	"loop":                "these are overlay mounts",
	"default_permissions": "it is set always",
}

// Check refuses values that cannot work; the error names the key.
func (c Config) Check() error {
	if err := oneOf("quota", c.Quota, "auto", "off", "require"); err != nil {
		return err
	}
	if err := oneOf("max_size_unsupported", c.MaxSizeUnsupported, "refuse", "warn"); err != nil {
		return err
	}
	switch {
	case c.ProjectIDFirst == 0:
		return bad("project_id_first", "0", "id 0 means no project; take 1 or more")
	case c.ProjectIDLast == math.MaxUint32:
		return bad("project_id_last", fmt.Sprint(c.ProjectIDLast), "the kernel reserves that id; take a smaller one")
	case c.ProjectIDLast < c.ProjectIDFirst:
		return bad("project_id_last", fmt.Sprint(c.ProjectIDLast), fmt.Sprintf("is below project_id_first = %d", c.ProjectIDFirst))
	case c.TrashRate < 0:
		return bad("trash_rate", fmt.Sprint(c.TrashRate), "take 0 (no limit) or more")
	case c.TrashFreePercent < 0 || c.TrashFreePercent > 100:
		return bad("trash_free_percent", fmt.Sprint(c.TrashFreePercent), "take 0 to 100")
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

func oneOf(key, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return bad(key, value, "take one of "+strings.Join(allowed, ", "))
}

func bad(key, value, why string) error {
	return fmt.Errorf("%s = %q: %s: %w", key, value, why, errdefs.ErrInvalidArgument)
}
