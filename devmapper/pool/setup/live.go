package setup

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/devmapper/pool/thinmeta"
)

// live is an active pool as the kernel shows it.
type live struct {
	pool.Report
	// Name is the pool's device-mapper name, BlockBytes its chunk size.
	Name       string
	BlockBytes uint64
	// Metadata is the path of its metadata device.
	Metadata string
	// Open counts its openers: active thin devices, mostly.
	Open int
	// Thins are the thin ids in an idle pool's metadata.
	Thins []uint32
}

// lvmDevice is the device-mapper name of a logical volume: a dash separates
// group from volume, and dashes within either are doubled (libdm,
// dm_build_dm_name).
func lvmDevice(group, volume string) string {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return double(group) + "-" + double(volume)
}

// devicePrefix begins the names of all devices that a daemon makes for a pool.
func devicePrefix(id string) string {
	short := strings.ReplaceAll(id, "-", "")
	return "varve-" + short[:min(12, len(short))] + "-"
}

// lookLive looks at the thin pool that shall be taken over.
func (s *site) lookLive() error {
	_, name, _ := strings.Cut(strings.TrimPrefix(s.ThinPool, "/dev/"), "/")
	v := s.group.Volume(name)
	if v == nil || v.Type != "thin-pool" || !v.Active {
		return nil // planThinPool says what is wrong
	}
	l, err := lookPool(lvmDevice(s.group.Name, name))
	if err != nil || l == nil {
		return err
	}
	l.Metadata = dm.Path(lvmDevice(s.group.Name, v.Metadata))
	if l.Open == 0 && l.Mode != pool.ModeFail {
		if l.Thins, err = idleThins(l.Metadata); err != nil {
			return fmt.Errorf("look for thin devices in %s: %w", s.ThinPool, err)
		}
	}
	s.live = l
	return nil
}

// lookPool asks the kernel for the pool with the device-mapper name; nil where
// there is no such device, or it is no thin pool.
func lookPool(name string) (*live, error) {
	ctl, err := dm.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = ctl.Close() }()
	info, status, err := ctl.Status(name, dm.StatusOptions{NoFlush: true})
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(status) != 1 || status[0].Type != "thin-pool" {
		return nil, nil
	}
	l := &live{Name: name, Open: info.Open}
	if l.Report, err = pool.ParseReport(status[0].Status); err != nil {
		return nil, fmt.Errorf("pool %s: %w", name, err)
	}
	table, err := ctl.Table(name)
	if err != nil {
		return nil, err
	}
	l.BlockBytes, err = blockBytes(table)
	return l, err
}

// blockBytes reads the chunk size from a pool's table: METADATA DATA SECTORS …
func blockBytes(table []dm.Target) (uint64, error) {
	if len(table) != 1 {
		return 0, fmt.Errorf("a pool's table of %d lines", len(table))
	}
	var metadata, data string
	var sectors uint64
	if _, err := fmt.Sscan(table[0].Params, &metadata, &data, &sectors); err != nil {
		return 0, fmt.Errorf("a pool's table %q: %w", table[0].Params, err)
	}
	return sectors * 512, nil
}

// idleThins lists the thin ids in a pool that nobody has open: what is on the
// disk stays as it is then, and the main tree may be read.
func idleThins(metadata string) ([]uint32, error) {
	r, err := thinmeta.OpenDevice(metadata)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	m, err := thinmeta.Open(r)
	if err != nil {
		return nil, err
	}
	devices, err := m.Devices(context.Background())
	if err != nil {
		return nil, err
	}
	ids := make([]uint32, len(devices))
	for i, d := range devices {
		ids[i] = d.ID
	}
	return ids, nil
}

// refuse says why a pool that exists may not be taken over; nil when it may.
func (l *live) refuse(where string) error {
	switch {
	case l.Mode == pool.ModeFail:
		return fmt.Errorf("--thin-pool %s: the kernel has failed it: see the kernel's log (dmesg), then repair it (lvconvert --repair) or make a new one", where)
	case l.NeedsCheck || l.Mode != pool.ModeWrite:
		return fmt.Errorf("--thin-pool %s: its mode is %s (needs check: %v): mend that first (lvconvert --repair, or lvextend when it is full)", where, l.Mode, l.NeedsCheck)
	case l.Open > 0:
		return fmt.Errorf("--thin-pool %s: it is in use, open %d times: thin devices of somebody else are active in it (dmsetup ls --tree)", where, l.Open)
	case l.TransactionID != 0:
		return fmt.Errorf("--thin-pool %s: its transaction id is %d, so somebody else has used it; one pool has one owner: make a new pool (lvcreate --type thin-pool)", where, l.TransactionID)
	case len(l.Thins) > 0:
		return fmt.Errorf("--thin-pool %s: it holds %d thin devices of somebody else (the first has the id %d): take an empty pool", where, len(l.Thins), l.Thins[0])
	}
	return nil
}
