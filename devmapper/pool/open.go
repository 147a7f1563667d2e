package pool

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/varve-project/varve/devmapper/dm"
)

// Options are for Open.
type Options struct {
	// Directory is where the catalog is mounted, in a folder of its own, and
	// where a lock lies: the owner's state directory. An absolute path.
	Directory string
	// Control is used for every ioctl and stays the caller's to close. Nil:
	// Open makes one whose devices udev does not probe, and Close closes it.
	Control *dm.Control
	// Adopt are foreign thin devices, found in the pool's metadata, that a
	// person has named and that are to be left alone from now on.
	Adopt []ThinID
	// Log takes what happens behind the calls. Nil: the context's logger.
	Log *log.Entry
}

// Open activates the pool, becomes its owner and mends what a crash of the
// last owner left: devices that are suspended, half made, or held. It moves
// the pool's transaction id by one, having compared it with the catalog's.
//
// Close ends the ownership; the pool and its thin devices stay active.
//
// Errors: InvalidArgument (the configuration), FailedPrecondition (another
// owner, foreign thin devices, thin volumes of LVM, no pool there),
// Unavailable (the pool is read-only, failed or was rolled back; each names
// what a person must do).
func Open(ctx context.Context, c Config, o Options) (*Pool, error) {
	p, err := newPool(ctx, c, o)
	if err != nil {
		return nil, fmt.Errorf("open the pool: %w", err)
	}
	done := make(chan error)
	left := make(chan struct{})
	go func() {
		err := p.open(ctx, o)
		if err != nil {
			err = errors.Join(err, p.abandon())
		}
		select {
		case done <- err:
		case <-left:
			if err == nil {
				_ = p.Close()
			}
		}
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		close(left)
		err = fmt.Errorf("the kernel has not answered: %w", ctx.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p.where(), err)
	}
	return p, nil
}

func newPool(ctx context.Context, c Config, o Options) (*Pool, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(o.Directory) {
		return nil, fmt.Errorf("directory %q is not an absolute path: %w", o.Directory, errdefs.ErrInvalidArgument)
	}
	v, err := Describe(c)
	if err != nil {
		return nil, err
	}
	p := &Pool{
		config: c, volumes: v, log: o.Log, ctl: o.Control,
		slots:     make(chan struct{}, maxCalls),
		slowSlots: make(chan struct{}, maxSlow),
		snapshot:  make(chan struct{}, 1),
	}
	if p.log == nil {
		p.log = log.G(ctx)
	}
	if p.ctl == nil {
		if p.ctl, err = dm.Open(dm.WithoutScan()); err != nil {
			return nil, err
		}
		p.ownCtl = true
	}
	return p, nil
}

// site is one way for a pool to lie on the machine.
type site interface {
	// catalog activates the catalog and returns its block device. It must
	// not open any device that could be suspended.
	catalog(ctx context.Context) (node string, err error)
	// pool activates the pool and returns its device-mapper name. A pool
	// that is not as the record says is refused before anything is written.
	pool(ctx context.Context, r record) (name string, err error)
}

// open is the order of a start: become the owner, let go what is suspended,
// and only then open or activate anything that lies on the pool.
func (p *Pool) open(ctx context.Context, o Options) error {
	var s site = &bareSite{p: p}
	if p.volumes.Kind.LVM() {
		s = &lvmSite{p: p}
	}
	node, err := s.catalog(ctx)
	if err != nil {
		return err
	}
	super, err := readCatalogSuper(node)
	if err != nil {
		return err
	}
	p.names = names{pool: super.uuid}
	if super.errors {
		p.log.Warnf("the catalog of %s had errors; stop the daemon and run `e2fsck -f %s`", p.where(), node)
	}
	if p.volumes.Kind == KindLoop {
		p.log.Warnf("%s lies in files, for trying out: it is slow, and when the host's file system is full the pool breaks", p.where())
	}
	if err := p.own(o.Directory, node); err != nil {
		return err
	}
	if p.ledger, err = openLedger(p.catalog); err != nil {
		return err
	}
	r := p.ledger.get()
	if r.UUID != super.uuid {
		return fmt.Errorf("the catalog says it is of the pool %s, its file system says %s: it was copied from another pool: %w", r.UUID, super.uuid, errdefs.ErrFailedPrecondition)
	}
	if err := p.resumeOurs(); err != nil {
		return err
	}
	if p.device, err = s.pool(ctx, r); err != nil {
		return err
	}
	if err := p.start(ctx, o); err != nil {
		return err
	}
	p.ids = newIDs(p.ledger)
	return nil
}

// abandon takes back what a failed open did, but for the activation.
func (p *Pool) abandon() error {
	err := p.disown()
	if p.ownCtl {
		err = errors.Join(err, p.ctl.Close())
	}
	return err
}

// closePatience is how long Close waits for calls that are in the kernel.
const closePatience = 10 * time.Second

// Close implements Devices. It waits a while for the calls that are in the
// kernel; when they hang it leaves all as it is, for the next start to mend.
// An error also when files in the catalog are still open; Close may then be
// called again.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	idle := make(chan struct{})
	go func() { p.calls.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-time.After(closePatience):
		return fmt.Errorf("close %s: calls hang in the kernel; its devices and its catalog stay as they are: %w", p.where(), errdefs.ErrUnavailable)
	}
	err := errors.Join(p.ids.close(), p.disown())
	if p.ownCtl {
		p.ownCtl = false
		err = errors.Join(err, p.ctl.Close())
	}
	if err != nil {
		return fmt.Errorf("close %s: %w", p.where(), err)
	}
	return nil
}
