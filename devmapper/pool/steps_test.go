package pool

import (
	"context"

	"github.com/varve-project/varve/devmapper/dm"
)

// Step is one call, with the ioctls that it may cost, in order.
type Step struct {
	Name string
	Call func() error
	Want string
	// Disk: it needs more than the kernel's answers.
	Disk bool
}

// Steps are the calls of a thin device's life on an open pool, for three ids.
// A pool commit comes with each message, but for the two of Thins, whose
// release has none; and with Flush.
func Steps(ctx context.Context, p *Pool, base, child, third ThinID) []Step {
	const size = 64 << 20
	activate := func(id ThinID, bytes uint64) func() error {
		return func() error {
			_, err := p.Activate(ctx, id, Activation{Bytes: bytes})
			return err
		}
	}
	return []Step{
		{"create", func() error { return p.Create(ctx, base) }, "TARGET_MSG DEV_STATUS", false},
		{"snapshot of an inactive origin", func() error { return p.Snapshot(ctx, child, base) }, "DEV_SUSPEND TARGET_MSG DEV_STATUS", false},
		{"activate", activate(child, size), "DEV_CREATE TABLE_LOAD DEV_SUSPEND", false},
		{"activate what is active", activate(child, size), "DEV_CREATE TABLE_STATUS", false},
		{"grow", activate(child, 2*size), "DEV_CREATE TABLE_STATUS TABLE_LOAD DEV_SUSPEND DEV_SUSPEND", false},
		{"snapshot of an active origin", func() error { return p.Snapshot(ctx, third, child) }, "DEV_SUSPEND TARGET_MSG DEV_STATUS DEV_SUSPEND", false},
		{"active", func() error { _, _, _, err := p.Active(ctx, child); return err }, "TABLE_STATUS", false},
		{"flush", func() error { return p.Flush(ctx, child) }, "DEV_SUSPEND DEV_SUSPEND TABLE_STATUS", false},
		{"status", func() error { _, err := p.Status(ctx); return err }, "TABLE_STATUS LIST_DEVICES", false},
		{"admit", p.Admit, "", false},
		{"thins", func() error { _, err := p.Thins(ctx); return err }, "TARGET_MSG TARGET_MSG", true},
		{"new id", func() error { _, err := p.NewID(ctx); return err }, "", true},
		{"deactivate", func() error { return p.Deactivate(ctx, child, false) }, "DEV_REMOVE", false},
		{"deactivate lazily", func() error { return p.Deactivate(ctx, child, true) }, "DEV_REMOVE", false},
		{"delete", func() error { return p.Delete(ctx, child) }, "TARGET_MSG DEV_STATUS", false},
		{"delete what is gone", func() error { return p.Delete(ctx, child) }, "TARGET_MSG", false},
	}
}

// Replayed is a pool above a record of the kernel's answers, for calls that
// need no disk.
func Replayed(ctl *dm.Control, uuid, device, number string) *Pool {
	return &Pool{
		ctl: ctl, names: names{pool: uuid}, device: device, number: number, blockBytes: 64 << 10,
		volumes: Volumes{Kind: KindDevices, Data: "/dev/replayed"}, config: DefaultConfig(),
		slots: make(chan struct{}, maxCalls), slowSlots: make(chan struct{}, maxSlow), snapshot: make(chan struct{}, 1),
	}
}

// Number is what thin tables call the pool.
func (p *Pool) Number() string { return p.number }

// Event is the pool's event number at the last look.
func (p *Pool) Event() uint32 { return p.event.Load() }

// SetDiscardOnDelete changes the configuration.
func (p *Pool) SetDiscardOnDelete(on bool) { p.config.DiscardOnDelete = on }

// SetEvent is for a replayed pool.
func (p *Pool) SetEvent(n uint32) { p.event.Store(n) }
