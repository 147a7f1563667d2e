package setup

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Group is a volume group with its volumes and disks.
type Group struct {
	Name   string
	UUID   string
	Extent uint64
	Bytes  uint64
	Free   uint64
	Tags   []string
	// Partial: one of its disks is missing.
	Partial bool
	Volumes []Volume
	Disks   []PV
}

// Volume is a logical volume, hidden ones included.
type Volume struct {
	Name  string // without brackets
	UUID  string
	Type  string // segtype: linear, thin-pool, thin, …
	Bytes uint64
	Tags  []string
	// Pool is the thin pool of a thin volume.
	Pool string
	// Metadata and Data are a thin pool's hidden volumes.
	Metadata, Data string
	TransactionID  uint64
	Chunk          uint64
	Zero           bool
	Discards       string
	WhenFull       string
	Active         bool
	Open           bool
}

// PV is a physical volume.
type PV struct {
	Name  string
	Group string
	// Tags are the group's.
	Tags  []string
	Bytes uint64
	Free  uint64
}

// lvm makes the command line of one LVM command. Where no udevd runs nobody
// would answer LVM's cookies nor make its nodes, so it does that itself.
func lvm(args ...string) []string {
	argv := []string{"lvm", args[0]}
	if !udevRuns() {
		argv = append(argv, "--config", "activation{udev_sync=0 udev_rules=0} devices{obtain_device_list_from_udev=0}")
	}
	return append(argv, args[1:]...)
}

// udevRuns: the socket exists as long as udevd does (sd_device, libudev).
var udevRuns = func() bool {
	_, err := os.Stat("/run/udev/control")
	return err == nil
}

// reports runs pvs, vgs or lvs and returns its rows.
func (h *Host) reports(ctx context.Context, kind, fields string, rest ...string) ([]map[string]string, error) {
	args := append([]string{kind + "s", "--reportformat", "json", "--units", "b", "--nosuffix", "--options", fields}, rest...)
	out, err := h.run(ctx, lvm(args...)...)
	if err != nil {
		return nil, err
	}
	return parseReport(out, kind)
}

func parseReport(out []byte, kind string) ([]map[string]string, error) {
	var report struct {
		Report []map[string][]map[string]string `json:"report"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return nil, fmt.Errorf("output of lvm %ss: %w", kind, err)
	}
	var rows []map[string]string
	for _, r := range report.Report {
		rows = append(rows, r[kind]...)
	}
	return rows, nil
}

const (
	groupFields  = "vg_name,vg_uuid,vg_extent_size,vg_size,vg_free,vg_tags,vg_partial"
	volumeFields = "lv_name,lv_uuid,segtype,lv_size,lv_tags,pool_lv,metadata_lv,data_lv,transaction_id,chunk_size,zero,discards,lv_when_full,lv_active,lv_device_open"
	diskFields   = "pv_name,vg_name,vg_tags,pv_size,pv_free"
)

// LookGroup reads a volume group; nil where there is none of that name.
func (h *Host) LookGroup(ctx context.Context, name string) (*Group, error) {
	rows, err := h.reports(ctx, "vg", groupFields, "--select", "vg_name="+strconv.Quote(name))
	if err != nil {
		return nil, fmt.Errorf("volume group %s: %w", name, err)
	}
	switch len(rows) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, fmt.Errorf("volume group %s: there are %d of that name; rename one by its UUID (vgrename)", name, len(rows))
	}
	var p parser
	r := rows[0]
	g := &Group{
		Name: r["vg_name"], UUID: r["vg_uuid"], Tags: list(r["vg_tags"]), Partial: r["vg_partial"] != "",
		Extent: p.number(r, "vg_extent_size"), Bytes: p.number(r, "vg_size"), Free: p.number(r, "vg_free"),
	}
	if g.Volumes, err = h.lookVolumes(ctx, name); err != nil {
		return nil, err
	}
	all, err := h.lookPVs(ctx)
	if err != nil {
		return nil, err
	}
	for _, pv := range all {
		if pv.Group == name {
			g.Disks = append(g.Disks, pv)
		}
	}
	return g, p.err
}

func (h *Host) lookVolumes(ctx context.Context, group string) ([]Volume, error) {
	rows, err := h.reports(ctx, "lv", volumeFields, "--all", group)
	if err != nil {
		return nil, fmt.Errorf("volumes of %s: %w", group, err)
	}
	var volumes []Volume
	var p parser
	for _, r := range rows {
		v := Volume{
			Name: strings.Trim(r["lv_name"], "[]"), UUID: r["lv_uuid"], Type: r["segtype"], Tags: list(r["lv_tags"]),
			Pool: strings.Trim(r["pool_lv"], "[]"), Metadata: strings.Trim(r["metadata_lv"], "[]"), Data: strings.Trim(r["data_lv"], "[]"),
			Bytes: p.number(r, "lv_size"), TransactionID: p.number(r, "transaction_id"), Chunk: p.number(r, "chunk_size"),
			Zero: r["zero"] != "" && r["zero"] != "0", Discards: r["discards"], WhenFull: r["lv_when_full"],
			Active: r["lv_active"] != "", Open: r["lv_device_open"] != "",
		}
		// A volume of several segments has a row for each.
		if !slices.ContainsFunc(volumes, func(o Volume) bool { return o.Name == v.Name }) {
			volumes = append(volumes, v)
		}
	}
	return volumes, p.err
}

func (h *Host) lookPVs(ctx context.Context) ([]PV, error) {
	rows, err := h.reports(ctx, "pv", diskFields)
	if err != nil {
		return nil, fmt.Errorf("physical volumes: %w", err)
	}
	var p parser
	var all []PV
	for _, r := range rows {
		all = append(all, PV{Name: r["pv_name"], Group: r["vg_name"], Tags: list(r["vg_tags"]), Bytes: p.number(r, "pv_size"), Free: p.number(r, "pv_free")})
	}
	return all, p.err
}

// claimPVs marks those of disks that LVM holds.
func (h *Host) claimPVs(ctx context.Context, disks ...*Disk) error {
	pvs, err := h.lookPVs(ctx)
	if err != nil {
		return err
	}
	for _, pv := range pvs {
		for _, d := range disks {
			if pv.Name == d.Path || pv.Name == d.Node {
				d.PV, d.Group, d.Owner = true, pv.Group, owner(pv.Tags)
			}
		}
	}
	return nil
}

// Volume finds a volume by name; nil without.
func (g *Group) Volume(name string) *Volume {
	if g == nil {
		return nil
	}
	for i := range g.Volumes {
		if g.Volumes[i].Name == name {
			return &g.Volumes[i]
		}
	}
	return nil
}

// parser keeps the first error of many fields.
type parser struct{ err error }

func (p *parser) number(row map[string]string, field string) uint64 {
	if row[field] == "" {
		return 0
	}
	n, err := strconv.ParseUint(row[field], 10, 64)
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("LVM's field %s = %q: %w", field, row[field], err)
	}
	return n
}

func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// Tags of LVM that say whose a group or volume is.
const (
	tagPool = "varve.pool=" // + UUID
	// tagMade is on what create made, so that destroy removes just that.
	tagMade = "varve.made"
	// tagReady is on the pool's volume once it is whole.
	tagReady = "varve.ready"
)

// owner is the UUID of the pool that tags name, "" without.
func owner(tags []string) string {
	for _, t := range tags {
		if uuid, ok := strings.CutPrefix(t, tagPool); ok {
			return uuid
		}
	}
	return ""
}
