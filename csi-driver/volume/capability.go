package volume

import (
	"fmt"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/mount"
)

// Capability is CSI's volume capability, checked: how a volume is to be used.
type Capability struct {
	// Block: as a device. The two fields below are empty then.
	Block bool `json:"block,omitempty"`
	// FSType is ext4, xfs, or "" for whichever there is.
	FSType string `json:"fsType,omitempty"`
	// Flags are the mount options as given.
	Flags []string `json:"flags,omitempty"`
	// Mode is one of CSI's single-node access modes, by name.
	Mode string `json:"mode"`
}

// DefaultFSType is what a volume gets whose creator wants a file system but
// names none.
const DefaultFSType = mount.Ext4

// safe are the mount flags that content from elsewhere asks for. The words
// "dev" and "suid" among a capability's flags take them away.
const safe = unix.MS_NODEV | unix.MS_NOSUID

// modes are the access modes that a volume on one node's disk can have.
var modes = []csi.VolumeCapability_AccessMode_Mode{
	csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER,
}

// ParseCapability checks c. Its error wraps ErrInvalid and names the field.
func ParseCapability(c *csi.VolumeCapability) (Capability, error) {
	fail := func(format string, args ...any) (Capability, error) {
		return Capability{}, fmt.Errorf("volume_capability."+format+": %w", append(args, ErrInvalid)...)
	}
	mode := c.GetAccessMode().GetMode()
	if !slices.Contains(modes, mode) {
		return fail("access_mode %s: a volume of this driver lives on one node; use one of the SINGLE_NODE modes", mode)
	}
	parsed := Capability{Mode: mode.String()}
	switch access := c.GetAccessType().(type) {
	case *csi.VolumeCapability_Block:
		parsed.Block = true
	case *csi.VolumeCapability_Mount:
		m := access.Mount
		if group := m.GetVolumeMountGroup(); group != "" {
			return fail("mount.volume_mount_group %q: not supported, the orchestrator has to set the group itself", group)
		}
		if t := m.GetFsType(); t != "" && t != mount.Ext4 && t != mount.XFS {
			return fail("mount.fs_type %q: only ext4 and xfs are served", t)
		}
		parsed.FSType, parsed.Flags = m.GetFsType(), m.GetMountFlags()
		if _, err := parsed.MountOptions(); err != nil {
			return fail("mount.mount_flags: %w", err)
		}
	default:
		return fail("access_type: neither block nor mount is given")
	}
	return parsed, nil
}

// ReadOnly tells whether nobody may write.
func (c Capability) ReadOnly() bool {
	return c.Mode == csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY.String()
}

// OneWorkload tells whether the volume may be published at one target only.
func (c Capability) OneWorkload() bool {
	return c.Mode == csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER.String()
}

// MountOptions are the flags in the form that mount(2) takes.
func (c Capability) MountOptions() (mount.Options, error) {
	o, err := mount.ParseOptions(safe, c.Flags)
	if err == nil && c.ReadOnly() {
		o.Flags |= unix.MS_RDONLY
	}
	return o, err
}

// Same tells whether c asks for what other has.
func (c Capability) Same(other Capability) bool {
	return c.Block == other.Block && c.Mode == other.Mode &&
		(c.FSType == "" || other.FSType == "" || c.FSType == other.FSType) &&
		slices.Equal(c.Flags, other.Flags)
}

// String is for error texts.
func (c Capability) String() string {
	if c.Block {
		return "block " + c.Mode
	}
	return fmt.Sprintf("mount %s %q %s", c.FSType, c.Flags, c.Mode)
}
