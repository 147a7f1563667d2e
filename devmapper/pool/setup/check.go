package setup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/devmapper/pool/thinmeta"
	"github.com/varve-project/varve/internal/finding"
)

// Checked is what `pool check` found out.
type Checked struct {
	UUID string `json:"uuid"`
	// How says in words what was checked and how.
	How string `json:"how"`
	// Thins counts the thin devices in the pool, Mapped the bytes that they
	// map together, shared ones counted for each.
	Thins    int          `json:"thins"`
	Mapped   uint64       `json:"mappedBytes"`
	Findings finding.List `json:"findings"`
}

// Check reads all of a pool's metadata and compares it with the catalog. Of a
// pool that is active it reads a metadata snapshot, beside whoever runs it; of
// one that is not, the metadata themselves, by thin_check as well. It writes
// nothing but the reservation of that snapshot, which it releases.
func (h *Host) Check(ctx context.Context, c pool.Config) (*Checked, error) {
	f, err := h.Find(ctx, c)
	if err != nil {
		return nil, err
	}
	if f.UUID == "" {
		return nil, f.absent()
	}
	k := &Checked{UUID: f.UUID, Findings: f.cutOff(h)}
	switch {
	case f.Live != nil && f.Live.Mode != pool.ModeFail:
		err = k.live(ctx, h, f)
	case f.Live != nil:
		k.damaged(f, errors.New("the kernel has failed the pool, so that its metadata cannot be read while it is active"))
	default:
		err = f.withMetadata(ctx, h, func(node string) error { return k.idle(ctx, h, f, node) })
	}
	if err != nil {
		return nil, err
	}
	k.Findings.Sort()
	return k, nil
}

func (k *Checked) damaged(f *Found, err error) {
	k.Findings = append(k.Findings, finding.Finding{
		ID: "devmapper.metadata.damaged", Severity: finding.Error, Object: f.Volumes.Where(), Text: err.Error(),
		Meaning: "snapshots may be lost or read wrongly", Command: "varve-devmapper pool repair --dry-run",
		Remedy: "stop the daemon and whoever uses its snapshots, then repair",
	})
}

// live checks a metadata snapshot of an active pool.
func (k *Checked) live(ctx context.Context, h *Host, f *Found) (err error) {
	k.How = "a metadata snapshot of the active pool, read by varve"
	if f.Live.NeedsCheck {
		k.damaged(f, errors.New("the kernel met an error in the metadata and wants them checked before it writes again"))
		k.Findings[len(k.Findings)-1].ID = "devmapper.pool.needs-check"
	}
	if f.Live.Mode == pool.ModeReadOnly {
		k.How = "nothing: a read-only pool takes no metadata snapshot; make it idle (stop the daemon, then vgchange -an or dmsetup remove) to check it"
		return k.records(ctx, h, f, nil)
	}
	ctl, err := dm.Open()
	if err != nil {
		return err
	}
	defer func() { _ = ctl.Close() }()
	if err := reserve(ctx, ctl, f.Live.Name); err != nil {
		return err
	}
	defer func() {
		_, releaseErr := ctl.Message(f.Live.Name, 0, "release_metadata_snap")
		err = errors.Join(err, releaseErr)
	}()
	r, err := thinmeta.OpenDevice(f.Live.Metadata)
	if err != nil {
		return err
	}
	defer r.Close()
	m, err := thinmeta.Open(r)
	if err == nil {
		m, err = m.Held()
	}
	if err != nil {
		return fmt.Errorf("read the metadata snapshot of %s: %w", f.Live.Name, err)
	}
	return k.walk(ctx, h, f, m)
}

// reserve takes the pool's one metadata snapshot. The daemon may have it for a
// moment.
func reserve(ctx context.Context, ctl *dm.Control, name string) error {
	for try := 0; ; try++ {
		_, err := ctl.Message(name, 0, "reserve_metadata_snap")
		if err == nil || !errors.Is(err, unix.EBUSY) && !errdefs.IsAlreadyExists(err) {
			return err
		}
		if try == 20 {
			return fmt.Errorf("the metadata snapshot of %s has been reserved by somebody else for 10 seconds; if no daemon runs, release it (dmsetup message %s 0 release_metadata_snap): %w", name, name, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// idle checks the metadata of a pool that is not active.
func (k *Checked) idle(ctx context.Context, h *Host, f *Found, node string) error {
	k.How = "the metadata of the inactive pool, by thin_check and by varve"
	if _, err := h.run(ctx, "thin_check", node); err != nil {
		if ctx.Err() != nil || errors.Is(err, errNotInstalled) {
			return err
		}
		k.damaged(f, err)
	}
	r, err := thinmeta.OpenDevice(node)
	if err != nil {
		return err
	}
	defer r.Close()
	m, err := thinmeta.Open(r)
	if err != nil {
		k.damaged(f, err)
		return k.records(ctx, h, f, nil)
	}
	return k.walk(ctx, h, f, m)
}

// walk reads every device and every mapping.
func (k *Checked) walk(ctx context.Context, h *Host, f *Found, m *thinmeta.Metadata) error {
	devices, err := m.Devices(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		k.damaged(f, err)
		return k.records(ctx, h, f, nil)
	}
	k.Thins = len(devices)
	for _, d := range devices {
		var mapped uint64
		err := m.Mappings(ctx, d.ID, func(r thinmeta.Run) error { mapped += r.Length; return nil })
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			k.damaged(f, fmt.Errorf("thin device %d: %w", d.ID, err))
		case mapped != d.MappedBlocks:
			k.damaged(f, fmt.Errorf("thin device %d maps %d blocks, and its details say %d", d.ID, mapped, d.MappedBlocks))
		}
		k.Mapped += mapped * uint64(m.Superblock().DataBlockSize) * 512
	}
	return k.records(ctx, h, f, devices)
}

// records compares the pool with the catalog's record.
func (k *Checked) records(ctx context.Context, h *Host, f *Found, devices []thinmeta.Device) error {
	r, err := f.recordAwake(ctx, h)
	if err != nil {
		k.Findings = append(k.Findings, finding.Finding{
			ID: "devmapper.catalog.unreadable", Severity: finding.Warning, Object: f.Volumes.Where(), Text: err.Error(),
			Meaning: "the pool was not compared with its record", Remedy: "activate the catalog's volume, or start the daemon, and check again",
		})
		return nil
	}
	if f.Live != nil {
		k.Findings = append(k.Findings, f.compare(r)...)
	}
	for _, d := range devices {
		if d.ID < r.NextID || d.ID == 0 {
			continue
		}
		k.Findings = append(k.Findings, finding.Finding{
			ID: "devmapper.thin.foreign", Severity: finding.Error, Object: fmt.Sprintf("%s thin device %d", f.Volumes.Where(), d.ID),
			Text:    fmt.Sprintf("the pool holds the thin device %d, and ids from %d on have not been given out", d.ID, r.NextID),
			Meaning: "somebody else made it in this pool, or the catalog is older than the pool; the daemon refuses to start on it",
			Remedy:  "find out who uses the pool; a pool has one owner",
		})
	}
	return nil
}
