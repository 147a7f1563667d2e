package dm

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Control is an open device-mapper. Its methods may be called from any number
// of goroutines and hold no lock over a system call. An ioctl cannot be
// interrupted: a method returns when the kernel does, so a caller with a
// deadline calls it in a goroutine of its own and answers without it.
type Control struct {
	kernel  Kernel
	version Version
	close   func() error

	nodes string // directory of the nodes, "" for none
	sysfs string
	udev  *udev // nil where no udevd runs
}

// Option changes what Open and New do.
type Option func(*options)

type options struct {
	nodes      string
	controlled string
	udev       udevUse
	flags      uint16
	patience   time.Duration
}

type udevUse int

const (
	udevAuto udevUse = iota
	udevNever
)

// defaultPatience is how long a call waits for udevd; see WithPatience.
const defaultPatience = 10 * time.Second

// WithoutScan tells udev's rules to leave the devices alone that this Control
// makes live: no blkid, no LVM or other subsystem's rules, no links in
// /dev/disk; only the node in /dev/mapper. For devices whose content is
// somebody's private matter, and must not be opened by strangers just when it
// is to be removed.
func WithoutScan() Option {
	return func(o *options) {
		o.flags |= udevDisableSubsystemRules | udevDisableDiskRules | udevDisableOtherRules
	}
}

// WithoutUdev makes nodes without regard to a udevd, also where one runs.
func WithoutUdev() Option { return func(o *options) { o.udev = udevNever } }

// WithPatience bounds how long a call waits for udevd to have seen the device
// come or go; 10 seconds unless given. A udevd that takes longer is not waited
// for: the node is made or removed here, and the next calls wait a moment only
// until udevd answers again. See Overdue.
func WithPatience(d time.Duration) Option { return func(o *options) { o.patience = d } }

// Open opens /dev/mapper/control, whose node it makes where nobody did (a
// container's /dev), and checks its version. Nodes are made in /dev/mapper, by
// udevd where it runs. Close what it returns.
//
// Errors: NotImplemented (the kernel has no device-mapper; says how to get
// it), PermissionDenied.
func Open(opts ...Option) (*Control, error) {
	o := options{nodes: "/dev/" + unix.DM_DIR, patience: defaultPatience}
	for _, opt := range opts {
		opt(&o)
	}
	node := filepath.Join(o.nodes, unix.DM_CONTROL_NODE)
	if err := makeControlNode(node); err != nil {
		return nil, err
	}
	k, err := openControl(node)
	switch {
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOENT):
		return nil, noDeviceMapper(err)
	case err != nil:
		return nil, fail("open device-mapper", "", err)
	}
	c, err := newControl(k, o)
	if err != nil {
		return nil, errors.Join(err, k.Close())
	}
	c.close = k.Close
	return c, nil
}

// New is a Control above another Kernel, which stays the caller's to close. It
// makes no nodes and knows no udev. It checks the version: one ioctl.
func New(k Kernel, opts ...Option) (*Control, error) {
	o := options{udev: udevNever}
	for _, opt := range opts {
		opt(&o)
	}
	return newControl(k, o)
}

func newControl(k Kernel, o options) (*Control, error) {
	c := &Control{kernel: k, nodes: o.nodes, sysfs: "/sys", close: func() error { return nil }}
	v, err := c.askVersion()
	if err != nil {
		return nil, err
	}
	c.version = v
	if o.udev == udevAuto {
		c.udev = findUdev(o)
	}
	return c, nil
}

// askVersion is DM_VERSION. The kernel answers EINVAL to another major.
func (c *Control) askVersion() (Version, error) {
	h, err := c.do(command{request: unix.DM_VERSION})
	if err != nil {
		return Version{}, fail("ask for the version of device-mapper", "", err)
	}
	v := Version{h.u32(atVersion), h.u32(atVersion + 4), h.u32(atVersion + 8)}
	if v.Major != unix.DM_VERSION_MAJOR {
		return v, fmt.Errorf("kernel has device-mapper %s, of which this program knows nothing (it speaks %d): %w", v, unix.DM_VERSION_MAJOR, errdefs.ErrNotImplemented)
	}
	return v, nil
}

// Version is the version of the kernel's ioctl interface. No ioctl.
func (c *Control) Version() Version { return c.version }

// Close closes the control device. Devices stay as they are.
func (c *Control) Close() error { return c.close() }

// Path is the node of the device with the name, whether there is one or not.
func (c *Control) Path(name string) string { return Path(name) }

// Path is the node of the device with the name, whether there is one or not.
func Path(name string) string { return "/dev/" + unix.DM_DIR + "/" + name }

// makeControlNode makes the node of the control device where it is missing.
// Its minor number is in /proc/misc once the module is there; before, opening
// 10:236 makes the kernel load it (MAPPER_CTRL_MINOR in linux/miscdevice.h).
func makeControlNode(node string) error {
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(node), 0o755); err != nil {
		return fmt.Errorf("open device-mapper: make the directory of its node: %w", err)
	}
	minor := uint32(mapperMinor)
	if m, ok := miscMinor("/proc/misc"); ok {
		minor = m
	}
	err := unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(miscMajor, minor)))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("open device-mapper: make its node %s: %w", node, err)
	}
	return nil
}

const (
	miscMajor   = 10
	mapperMinor = 236
)

// miscMinor finds the minor number of device-mapper among the misc devices.
func miscMinor(path string) (uint32, bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		number, name, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		if name == "device-mapper" {
			minor, err := strconv.ParseUint(number, 10, 20)
			return uint32(minor), err == nil
		}
	}
	return 0, false
}

func noDeviceMapper(err error) error {
	return fmt.Errorf("kernel has no device-mapper: load it with modprobe dm_mod, or boot a kernel that was built with CONFIG_BLK_DEV_DM (every distribution's): %w (%w)", errdefs.ErrNotImplemented, err)
}
