package quota

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Commands of quotactl(2), from linux/quota.h and linux/dqblk_xfs.h. XFS
// answers the generic ones as well as its own.
const (
	qGetQuota     = 0x800007
	qSetQuota     = 0x800008
	qGetNextQuota = 0x800009
	qXGetQStatV   = 'X'<<8 + 8
	prjQuota      = 2

	validLimits = 1 | 4 // QIF_BLIMITS | QIF_ILIMITS

	projAccounted = 1 << 4 // FS_QUOTA_PDQ_ACCT
	projEnforced  = 1 << 5 // FS_QUOTA_PDQ_ENFD

	sysQuotactlFD = 443 // the same number on every architecture
	blockSize     = 1024
)

// dqblk is struct if_nextdqblk; its first part is struct if_dqblk.
type dqblk struct {
	bhardlimit, bsoftlimit, curspace  uint64
	ihardlimit, isoftlimit, curinodes uint64
	btime, itime                      uint64
	valid                             uint32
	id                                uint32
}

// statv is struct fs_quota_statv, of which only the flags matter here.
type statv struct {
	version int8
	pad     uint8
	flags   uint16
	rest    [252]byte
}

// Project quota of one project id.
type Quota struct {
	ID uint32
	// Limit is the hard limit in bytes, 0 for none.
	Limit int64
	// Used is what the project holds, in bytes.
	Used int64
	// Inodes is how many inodes the project holds.
	Inodes int64
}

// FS is a file system whose project quotas are asked and set. Close it.
type FS struct {
	dir    *os.File
	device string // for quotactl(2), "" while quotactl_fd serves
}

// Open opens the file system that dir is on. It says nothing yet about
// whether that has quotas: see State.
func Open(dir string) (*FS, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("quota: %w", err)
	}
	return &FS{dir: f}, nil
}

// Close closes the file system.
func (f *FS) Close() error { return f.dir.Close() }

// State tells whether project quotas are counted and whether limits are
// enforced. The error says why neither is known.
func (f *FS) State() (accounted, enforced bool, err error) {
	s := statv{version: 1}
	if err := f.ctl(qXGetQStatV, 0, unsafe.Pointer(&s)); err != nil {
		return false, false, fmt.Errorf("state of project quotas on %s: %w", f.dir.Name(), err)
	}
	return s.flags&projAccounted != 0, s.flags&projEnforced != 0, nil
}

// Get returns limit and usage of one project; zeros when it has none.
func (f *FS) Get(id uint32) (Quota, error) {
	var d dqblk
	err := f.ctl(qGetQuota, id, unsafe.Pointer(&d))
	// XFS says ENOENT for a project that has never owned anything.
	if errors.Is(err, unix.ENOENT) {
		return Quota{ID: id}, nil
	}
	if err != nil {
		return Quota{}, fmt.Errorf("quota of project %d on %s: %w", id, f.dir.Name(), err)
	}
	return d.quota(id), nil
}

// Next returns the first project from id on that has a limit or owns
// anything. The error wraps unix.ENOENT after the last.
func (f *FS) Next(id uint32) (Quota, error) {
	var d dqblk
	if err := f.ctl(qGetNextQuota, id, unsafe.Pointer(&d)); err != nil {
		return Quota{}, fmt.Errorf("next project from %d on %s: %w", id, f.dir.Name(), err)
	}
	return d.quota(d.id), nil
}

// SetLimit sets the hard limit of a project in bytes, rounded up to whole
// KiB; 0 lifts it.
func (f *FS) SetLimit(id uint32, bytes int64) error {
	d := dqblk{valid: validLimits, bhardlimit: uint64((bytes + blockSize - 1) / blockSize)}
	if err := f.ctl(qSetQuota, id, unsafe.Pointer(&d)); err != nil {
		return fmt.Errorf("limit project %d on %s to %d bytes: %w", id, f.dir.Name(), bytes, err)
	}
	return nil
}

func (d dqblk) quota(id uint32) Quota {
	return Quota{
		ID: id, Limit: int64(d.bhardlimit) * blockSize,
		Used: int64(d.curspace), Inodes: int64(d.curinodes),
	}
}

func (f *FS) ctl(cmd int, id uint32, addr unsafe.Pointer) error {
	defer runtime.KeepAlive(f)
	command := uintptr(cmd<<8 | prjQuota)
	if f.device == "" {
		_, _, errno := unix.Syscall6(sysQuotactlFD, f.dir.Fd(), command, uintptr(id), uintptr(addr), 0, 0)
		if errno != unix.ENOSYS {
			return asError(errno)
		}
		device, err := deviceOf(f.dir)
		if err != nil {
			return err
		}
		f.device = device
	}
	special, err := unix.BytePtrFromString(f.device)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL, command, uintptr(unsafe.Pointer(special)), uintptr(id), uintptr(addr), 0, 0)
	return asError(errno)
}

func asError(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// deviceOf finds the block device that dir's file system is mounted from.
func deviceOf(dir *os.File) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return "", err
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return uint32(m.Major) != unix.Major(st.Dev) || uint32(m.Minor) != unix.Minor(st.Dev), false
	})
	if err != nil {
		return "", err
	}
	for _, m := range mounts {
		var dev unix.Stat_t
		if unix.Stat(m.Source, &dev) == nil && dev.Mode&unix.S_IFMT == unix.S_IFBLK {
			return m.Source, nil
		}
	}
	return "", fmt.Errorf("no block device found for %s: %w", dir.Name(), unix.ENODEV)
}
