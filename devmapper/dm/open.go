package dm

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Control is an open device-mapper. Its methods may be called from any number
// of goroutines and hold no lock over a system call. An ioctl cannot be
// interrupted: a method returns when the kernel does, so a caller with a
// deadline calls it in a goroutine of its own and answers without it.
type Control struct {
	kernel Kernel
	close  func() error
	nodes  string // directory of the nodes, "" for none
	sysfs  string
	udev   *udev // nil where no udevd runs
}

// Option changes what Open and New do.
type Option func(*options)

type options struct {
	nodes    string
	udev     udevUse
	patience time.Duration
	wrap     func(Kernel) Kernel
}

type udevUse int

const (
	udevNodes    udevUse = iota // udevd makes the nodes and is waited for
	udevKeepsOff                // it hears of the devices, and leaves them alone
	udevNever                   // it is told nothing
)

// defaultPatience is how long a call waits for udevd; see WithPatience.
const defaultPatience = 10 * time.Second

// WithoutScan tells udev's rules to keep off the devices that this Control
// makes live: no blkid, no LVM or other subsystem's rules, no links of any
// kind. Their nodes are made and removed here, and no call waits for udevd.
// For devices whose content is somebody's private matter, that come and go by
// the hundred, and that strangers must not open just when they are to go.
func WithoutScan() Option { return func(o *options) { o.udev = udevKeepsOff } }

// WithoutUdev makes nodes without regard to a udevd, also where one runs: its
// rules then do as they please.
func WithoutUdev() Option { return func(o *options) { o.udev = udevNever } }

// WithPatience bounds how long a call waits for udevd to have seen the device
// come or go; 10 seconds unless given. A udevd that takes longer is not waited
// for: the node is made or removed here, and the next calls wait a moment only
// until udevd answers again. What it still has in its queue may take a node
// away for a moment until it is through with it. See Overdue.
func WithPatience(d time.Duration) Option { return func(o *options) { o.patience = d } }

// WithKernel puts something between the Control and the kernel that Open
// opens: a recorder, a fault.
func WithKernel(wrap func(Kernel) Kernel) Option { return func(o *options) { o.wrap = wrap } }

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
	k, err := openNode(filepath.Join(o.nodes, unix.DM_CONTROL_NODE))
	if err != nil {
		return nil, err
	}
	c := newControl(k, o)
	c.close = k.Close
	if _, err := c.Version(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	c.udev = findUdev(o)
	return c, nil
}

// New is a Control above another Kernel, which stays the caller's to close. It
// makes no nodes, knows no udev and asks the kernel nothing.
func New(k Kernel, opts ...Option) *Control {
	o := options{udev: udevNever}
	for _, opt := range opts {
		opt(&o)
	}
	return newControl(k, o)
}

func newControl(k Kernel, o options) *Control {
	if o.wrap != nil {
		k = o.wrap(k)
	}
	return &Control{kernel: k, nodes: o.nodes, sysfs: "/sys", close: func() error { return nil }}
}

// Version is the version of the kernel's ioctl interface. One ioctl.
//
// Errors: NotImplemented (it has another major version than 4).
func (c *Control) Version() (Version, error) {
	h, err := c.do(command{request: unix.DM_VERSION})
	if errors.Is(err, unix.EINVAL) {
		return Version{}, fmt.Errorf("kernel's device-mapper has another interface than version %d: %w (%w)", unix.DM_VERSION_MAJOR, errdefs.ErrNotImplemented, err)
	}
	if err != nil {
		return Version{}, fail("ask for the version of device-mapper", "", err)
	}
	return h.version(), nil
}

// Close closes the control device. Devices stay as they are.
func (c *Control) Close() error { return c.close() }

// Path is the node of the device with the name, whether there is one or not.
func (c *Control) Path(name string) string { return Path(name) }

// Path is the node of the device with the name, whether there is one or not.
func Path(name string) string { return "/dev/" + unix.DM_DIR + "/" + name }
