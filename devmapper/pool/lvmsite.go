package pool

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/internal/failpoint"
)

// lvmSite is a pool whose volumes are LVM's. LVM activates them, once per
// boot; afterwards a start asks it for facts only.
type lvmSite struct{ p *Pool }

// catalog activates the catalog's volume. LVM reads every device of the
// machine and would hang on one that is suspended. While the catalog is active
// nothing is asked of LVM before the lock is held and what is suspended is
// resumed; while it is not, the pool has no owner.
func (s *lvmSite) catalog(ctx context.Context) (string, error) {
	v := s.p.volumes
	name := mapperName(v.Group, v.Catalog)
	if live, err := s.live(name); err != nil || live {
		return dm.Path(name), err
	}
	if err := s.resumeAbove(mapperName(v.Group, v.Pool)); err != nil {
		return "", err
	}
	failpoint.Hit("pool.open.catalog.before")
	_, err := runLVM(ctx, "lvchange", "--yes", "--activate", "y", "--ignoreactivationskip", v.Group+"/"+v.Catalog)
	failpoint.Hit("pool.open.catalog.after")
	if err != nil {
		return "", fmt.Errorf("activate the catalog; `varve-devmapper pool create` makes one: %w (%w)", err, errdefs.ErrFailedPrecondition)
	}
	return dm.Path(name), nil
}

func (s *lvmSite) pool(ctx context.Context, r record) (string, error) {
	v := s.p.volumes
	name := mapperName(v.Group, v.Pool)
	live, err := s.live(name)
	if err != nil {
		return "", err
	}
	list, err := logicalVolumes(ctx, v.Group)
	if err != nil {
		return "", err
	}
	lv, err := choosePool(list, v, r)
	if err != nil {
		return "", err
	}
	s.p.SetRoom(lv.free)
	if err := s.whenFull(ctx, lv); err != nil {
		return "", err
	}
	if live {
		return name, nil
	}
	failpoint.Hit("pool.open.pool.before")
	_, err = runLVM(ctx, "lvchange", "--yes", "--activate", "y", "--ignoreactivationskip", v.Group+"/"+v.Pool)
	failpoint.Hit("pool.open.pool.after")
	if err != nil {
		return "", fmt.Errorf("activate the pool; if LVM says that the pool needs repair, run `varve-devmapper pool repair`: %w (%w)", err, errdefs.ErrUnavailable)
	}
	return name, nil
}

// choosePool finds the pool's volume and refuses one that LVM itself uses: it
// keeps a transaction id of its own and would undo ours (decision 0031).
func choosePool(list []logicalVolume, v Volumes, r record) (logicalVolume, error) {
	for _, lv := range list {
		if lv.name != v.Pool {
			continue
		}
		switch {
		case lv.kind != targetPool:
			return lv, fmt.Errorf("it is a %s volume, not a thin pool: %w", lv.kind, errdefs.ErrFailedPrecondition)
		case lv.thins > 0:
			return lv, fmt.Errorf("it holds %d thin volumes of LVM's own: a pool belongs to LVM or to this daemon, not to both; give the daemon another one: %w", lv.thins, errdefs.ErrFailedPrecondition)
		case lv.transactionID > 0:
			return lv, fmt.Errorf("LVM has used it for thin volumes of its own (its transaction id in the volume group is %d) and would refuse to activate what this daemon makes of it; give the daemon a new pool: %w", lv.transactionID, errdefs.ErrFailedPrecondition)
		case r.Volume != "" && lv.uuid != r.Volume:
			return lv, fmt.Errorf("the catalog belongs to the volume %s, this one is %s: %w", r.Volume, lv.uuid, errdefs.ErrFailedPrecondition)
		}
		return lv, nil
	}
	return logicalVolume{}, fmt.Errorf("the volume group %s has no volume %s: %w", v.Group, v.Pool, errdefs.ErrNotFound)
}

// whenFull gives the pool the configured behaviour when it is full.
func (s *lvmSite) whenFull(ctx context.Context, lv logicalVolume) error {
	want := s.p.config.OutOfSpace
	if lv.whenFull == "" || lv.whenFull == want {
		return nil
	}
	answer := map[string]string{outOfSpaceError: "y", outOfSpaceQueue: "n"}[want]
	failpoint.Hit("pool.open.whenfull.before")
	_, err := runLVM(ctx, "lvchange", "--yes", "--errorwhenfull", answer, s.p.volumes.Group+"/"+lv.name)
	failpoint.Hit("pool.open.whenfull.after")
	return err
}

// live tells whether a device has a table, and resumes it if a crash of LVM
// left it suspended.
func (s *lvmSite) live(name string) (bool, error) {
	info, err := s.p.ctl.Stat(name)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil || !info.Live {
		return false, err
	}
	if info.Suspended {
		return true, s.p.resumeLeft(name)
	}
	return true, nil
}

// resumeAbove resumes the suspended devices of ours that lie on the pool with
// this name, whose own UUID is not known yet.
func (s *lvmSite) resumeAbove(name string) error {
	pool, err := s.p.ctl.Stat(name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := s.p.ctl.List()
	if err != nil {
		return err
	}
	for _, e := range all {
		if !isOurs(e.UUID) {
			continue
		}
		deps, err := s.p.ctl.Deps(e.Name)
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		for _, d := range deps {
			if d.Major == pool.Major && d.Minor == pool.Minor {
				if err := s.p.resumeLeft(e.Name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
