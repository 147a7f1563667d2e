package ipam

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/failpoint"
	"github.com/varve-project/varve/internal/flock"
)

// DefaultDataDir is where the leases of all networks lie unless ipam.dataDir
// says otherwise.
const DefaultDataDir = "/var/lib/varve/cni"

// Store is the lease store of one network. Any number of processes may have
// it open. It holds no resources: there is nothing to close.
type Store struct {
	dir     string
	network string
	boot    string
	// Now returns CLOCK_BOOTTIME in nanoseconds.
	Now func() int64
}

// Open makes the store's folders where they are missing. boot is the id of
// the running boot (BootID).
func Open(dataDir, network, boot string) (*Store, error) {
	s := View(dataDir, network, boot)
	for _, sub := range []string{"leases", "gone", "locks"} {
		if err := os.MkdirAll(s.path(sub), 0o700); err != nil {
			return nil, fmt.Errorf("open the lease store: %w", err)
		}
	}
	return s, nil
}

// View is Open for a reader: it makes nothing, and an absent store is an
// empty one.
func View(dataDir, network, boot string) *Store {
	return &Store{filepath.Join(dataDir, network), network, boot, BootTime}
}

// Networks lists the networks that have a store in dataDir.
func Networks(dataDir string) ([]string, error) {
	entries, err := os.ReadDir(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if _, statErr := os.Stat(filepath.Join(dataDir, e.Name(), "leases")); statErr == nil {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// BootID is the kernel's id of the running boot.
func BootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// BootTime is CLOCK_BOOTTIME in nanoseconds: it never jumps within a boot and
// goes on while the machine sleeps.
func BootTime() int64 {
	var ts unix.Timespec
	// The clock id is a constant that every kernel of ours has.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano()
}

// Boot is the boot id that the store was opened under.
func (s *Store) Boot() string { return s.boot }

func (s *Store) path(name string) string  { return filepath.Join(s.dir, name) }
func (s *Store) leasePath(k Key) string   { return s.path("leases/" + fileName(k)) }
func (s *Store) keyLockPath(k Key) string { return s.path("locks/" + fileName(k)) }

// maxName leaves room for the interface name under the 255 bytes of NAME_MAX.
const maxName = 200

// fileName is "CONTAINER@IFNAME". CNI allows no "@" in a container id, and a
// longer one than a file name holds is replaced by its hash.
func fileName(k Key) string {
	id := k.ContainerID
	if len(id) > maxName {
		sum := sha256.Sum256([]byte(id))
		id = "sha256@" + hex.EncodeToString(sum[:])
	}
	return id + "@" + k.IfName
}

// Hash is a short name for a key that differs between networks, for links.
func (k Key) Hash() string {
	sum := sha256.Sum256([]byte(k.Network + "\x00" + k.ContainerID + "\x00" + k.IfName))
	return hex.EncodeToString(sum[:12])
}

func (k Key) String() string {
	return fmt.Sprintf("container %s, interface %s, network %s", k.ContainerID, k.IfName, k.Network)
}

// Get reads one lease. The error wraps fs.ErrNotExist when there is none, and
// is a *BrokenError when there is one that cannot be read.
func (s *Store) Get(k Key) (*Lease, error) { return s.read(s.leasePath(k)) }

func (s *Store) read(path string) (*Lease, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var l Lease
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, s.broken(path, err)
	}
	if l.Version > RecordVersion {
		return nil, s.broken(path, fmt.Errorf("record version %d is newer than this program's %d", l.Version, RecordVersion))
	}
	if l.Network != s.network || fileName(l.Key) != filepath.Base(path) {
		return nil, s.broken(path, fmt.Errorf("it names %s, which belongs into another file", l.Key))
	}
	return &l, nil
}

// BrokenError is a lease file that is not a lease.
type BrokenError struct {
	Path string
	Err  error
	// ThisBoot: the file was written under the running boot.
	ThisBoot bool
}

func (e *BrokenError) Error() string { return fmt.Sprintf("lease %s: %v", e.Path, e.Err) }
func (e *BrokenError) Unwrap() error { return e.Err }

func (s *Store) broken(path string, err error) *BrokenError {
	b := &BrokenError{Path: path, Err: err}
	if info, statErr := os.Stat(path); statErr == nil {
		b.ThisBoot = time.Since(info.ModTime()) < time.Duration(s.Now())
	}
	return b
}

// Update replaces l's record, atomic against a killed process. The caller
// holds l's key lock.
func (s *Store) Update(l *Lease) error {
	failpoint.Hit("cni.ipam.record.before")
	defer failpoint.Hit("cni.ipam.record.after")
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return atomicfile.Replace(s.leasePath(l.Key), append(data, '\n'), 0o600)
}

// Leases reads every lease of the network, and lists apart those that cannot
// be read. It takes no lock: each is whole, and may be gone a moment later.
func (s *Store) Leases() ([]*Lease, []*BrokenError, error) {
	entries, err := os.ReadDir(s.path("leases"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	var leases []*Lease
	var broken []*BrokenError
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".tmp-") {
			continue
		}
		l, err := s.read(s.path("leases/" + e.Name()))
		var b *BrokenError
		switch {
		case err == nil:
			leases = append(leases, l)
		case errors.As(err, &b):
			broken = append(broken, b)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, nil, err
		}
	}
	return leases, broken, nil
}

// Release removes the lease of k and lets its addresses rest. Absence is no
// error. The caller holds k's key lock and has undone every effect.
func (s *Store) Release(k Key) error {
	lock, err := flock.Acquire(s.path("index.lock"))
	if err != nil {
		return err
	}
	defer lock.Release() //nolint:errcheck // closing drops the lock whatever it says
	// The index is read while the lease is still there, in case it has to be
	// rebuilt: then the addresses are known to it and rest.
	ix, err := s.readIndex()
	if err != nil {
		return err
	}
	failpoint.Hit("cni.ipam.remove.before")
	if err := os.Remove(s.leasePath(k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	failpoint.Hit("cni.ipam.remove.after")
	if !ix.release(fileName(k), s.Now()) {
		return nil
	}
	return s.writeIndex(ix)
}
