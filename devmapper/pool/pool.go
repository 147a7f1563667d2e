package pool

import (
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/internal/flock"
)

// Pool is an open pool. It implements Devices.
type Pool struct {
	ctl     *dm.Control
	ownCtl  bool // ctl is ours to close
	log     *log.Entry
	config  Config
	volumes Volumes
	names   names

	// device is the pool's dm name, number what thin tables call it, and
	// metadata the path of its metadata device.
	device     string
	number     string
	metadata   string
	blockBytes uint64
	// passdown: the pool passes discards on to a disk that takes them.
	passdown bool

	catalog string      // where it is mounted
	mounted bool        // by us
	lock    *flock.Lock // in the catalog
	local   *flock.Lock // in the directory
	ledger  *ledger
	ids     *ids

	gates     gates
	slots     chan struct{}
	slowSlots chan struct{}
	// snapshot is held by whoever has the metadata snapshot reserved.
	snapshot chan struct{}
	// event is the pool's event number at the last look at its mode.
	event atomic.Uint32
	admit atomic.Pointer[func() error]
	room  atomic.Uint64

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup
}

var _ Devices = (*Pool)(nil)

var errClosed = fmt.Errorf("the pool is closed: %w", errdefs.ErrFailedPrecondition)

// maxSlow bounds the discards that run at once; the disk is the containers'.
const maxSlow = 4

// UUID is the pool's identity.
func (p *Pool) UUID() string { return p.names.pool }

// Name is the pool's device-mapper name.
func (p *Pool) Name() string { return p.device }

// Volumes tells where the pool lies.
func (p *Pool) Volumes() Volumes { return p.volumes }

// BlockBytes is the pool's block size.
func (p *Pool) BlockBytes() uint64 { return p.blockBytes }

// Catalog implements Devices.
func (p *Pool) Catalog() string { return p.catalog }

// Path implements Devices.
func (p *Pool) Path(id ThinID) string { return dm.Path(p.names.thin(id)) }

// SetAdmission hands the pool what Admit asks: the guardian's last look. It
// must cost no system call.
func (p *Pool) SetAdmission(admit func() error) { p.admit.Store(&admit) }

// SetRoom tells the pool how many bytes its volume group could still add, for
// Status.
func (p *Pool) SetRoom(bytes uint64) { p.room.Store(bytes) }

// Admit implements Devices. Without a guardian everything is admitted.
func (p *Pool) Admit() error {
	if f := p.admit.Load(); f != nil {
		return (*f)()
	}
	return nil
}

// where names the pool in errors.
func (p *Pool) where() string { return "pool " + p.volumes.Where() }

func (p *Pool) thin(id ThinID) string {
	return fmt.Sprintf("thin device %d of %s", id, p.where())
}

func (id ThinID) check() error {
	if id == 0 || id > maxID {
		return fmt.Errorf("thin id %d is not 1 to %d: %w", id, maxID, errdefs.ErrInvalidArgument)
	}
	return nil
}

func (id ThinID) String() string { return strconv.FormatUint(uint64(id), 10) }

func (p *Pool) lockPath() string { return filepath.Join(p.catalog, lockFile) }
