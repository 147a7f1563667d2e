package overlay

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/quota"
)

// projects hands out the project ids by which quotas count snapshots. Which
// snapshot has which id is not recorded anywhere but in the directories
// themselves, and whether an id is in use the file system knows; the set
// here only holds what is taken and may not show there yet.
type projects struct {
	fs          *quota.FS
	first, last uint32
	foreign     map[uint32]bool // named in /etc/projects or /etc/projid

	mu    sync.Mutex
	taken map[uint32]bool
	next  uint32
}

// openProjects decides whether this root has quotas.
func (d *Driver) openProjects() error {
	if d.config.Quota == "off" {
		return nil
	}
	if d.config.Quota == "require" {
		if err := errors.Join(d.probes.Quota.Err(), d.probes.Limit.Err()); err != nil {
			return fmt.Errorf("quota = %q: %w", d.config.Quota, err)
		}
	}
	if !d.probes.Quota.Have() {
		return nil
	}
	f, err := quota.Open(d.layout.root)
	if err != nil {
		return err
	}
	p := &projects{
		fs: f, first: d.config.ProjectIDFirst, last: d.config.ProjectIDLast,
		taken: map[uint32]bool{}, next: d.config.ProjectIDFirst,
	}
	if p.foreign, err = foreignProjects("/etc/projects", "/etc/projid"); err == nil {
		err = p.clearStale()
	}
	if err == nil {
		err = d.noInheritance()
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	d.projects = p
	return nil
}

// noInheritance refuses a root whose directories hand an id down: renames
// into the trash would fail with EXDEV.
func (d *Driver) noInheritance() error {
	l := d.layout
	for _, dir := range []string{l.root, l.layers(), l.works()} {
		id, inherit, err := quota.Project(dir)
		if err != nil {
			return err
		}
		if inherit {
			return fmt.Errorf("%s hands the project id %d down to all in it, so snapshots cannot have their own; clear that with: chattr -P %s: %w",
				dir, id, dir, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

// foreignProjects reads the ids that an administrator has named: the first
// column of projects(5), the second of projid(5).
func foreignProjects(projects, projid string) (map[uint32]bool, error) {
	ids := map[uint32]bool{}
	for path, column := range map[string]int{projects: 0, projid: 1} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
			if strings.HasPrefix(fields[0], "#") || len(fields) <= column {
				continue
			}
			if id, err := strconv.ParseUint(strings.TrimSpace(fields[column]), 10, 32); err == nil {
				ids[uint32(id)] = true
			}
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// clearStale lifts the limits of ids in the range that own nothing: a crash
// between setting the limit and making the directory leaves one.
func (p *projects) clearStale() error {
	for id := p.first; id <= p.last; {
		q, err := p.fs.Next(id)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		if q.ID > p.last {
			return nil
		}
		if q.Inodes == 0 && q.Used == 0 && q.Limit > 0 && !p.foreign[q.ID] {
			if err := p.fs.SetLimit(q.ID, 0); err != nil {
				return err
			}
		}
		id = q.ID + 1
	}
	return nil
}

// takeProject returns a free project id with the limit set (0 bytes: counted
// only), or 0 where there are no quotas and none is asked for.
func (d *Driver) takeProject(bytes int64) (uint32, error) {
	if bytes > 0 && !d.limits() {
		if err := d.noQuota(bytes); err != nil {
			return 0, err
		}
		bytes = 0
	}
	if d.projects == nil {
		return 0, nil
	}
	id, err := d.projects.take()
	if err != nil {
		return 0, err
	}
	if bytes > 0 {
		if err := d.projects.fs.SetLimit(id, bytes); err != nil {
			d.projects.giveBack(id)
			return 0, err
		}
	}
	return id, nil
}

// limits tells whether a size limit can be kept.
func (d *Driver) limits() bool { return d.projects != nil && d.probes.Limit.Have() }

// noQuota answers a max-size label where nothing can enforce it.
func (d *Driver) noQuota(bytes int64) error {
	err := d.probes.Quota.Err()
	if err == nil {
		err = d.probes.Limit.Err()
	}
	if err == nil {
		err = fmt.Errorf("quotas are switched off (quota = %q in the configuration): %w", d.config.Quota, errdefs.ErrNotImplemented)
	}
	err = fmt.Errorf("label %s=%d cannot be enforced: %w", snapshots.LabelSnapshotMaxSize, bytes, err)
	if d.config.MaxSizeUnsupported == "warn" {
		d.log.WithError(err).Warn("a snapshot has no size limit although one was asked for")
		return nil
	}
	return fmt.Errorf("%w (or set max_size_unsupported = \"warn\" to go without a limit)", err)
}

// take reserves an id that neither we nor anybody else uses.
func (p *projects) take() (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.last - p.first + 1 {
		id := p.next
		if p.next++; p.next > p.last {
			p.next = p.first
		}
		if p.taken[id] || p.foreign[id] {
			continue
		}
		q, err := p.fs.Get(id)
		if err != nil {
			return 0, err
		}
		if q.Limit == 0 && q.Used == 0 && q.Inodes == 0 {
			p.taken[id] = true
			return id, nil
		}
	}
	return 0, fmt.Errorf("every project id from %d to %d is in use; widen project_id_first and project_id_last: %w",
		p.first, p.last, errdefs.ErrResourceExhausted)
}

// giveBack lifts the limit of an id whose files are gone or never were. The
// error is not the caller's: clearStale does it at the next start.
func (p *projects) giveBack(id uint32) {
	if p == nil || id == 0 {
		return
	}
	_ = p.fs.SetLimit(id, 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, id)
}

// note and release are the trash's hooks: the id of a tree is free once the
// tree is gone. An id that the other half of a snapshot still carries is
// given back early and not handed out, for it shows as used.
func (p *projects) note(path string) any {
	id, inherit, err := quota.Project(path)
	if err != nil || !inherit || id < p.first || id > p.last {
		return uint32(0)
	}
	return id
}

func (p *projects) release(note any) {
	if id, ok := note.(uint32); ok {
		p.giveBack(id)
	}
}

// Close closes the file system. p may be nil.
func (p *projects) Close() error {
	if p == nil {
		return nil
	}
	return p.fs.Close()
}
