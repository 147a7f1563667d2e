package setup

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/devmapper/pool/guard"
	"github.com/varve-project/varve/internal/finding"
)

// Status is what `pool status` shows. Fields are added, never renamed.
type Status struct {
	pool.Status
	Where  string   `json:"where"`
	Kind   string   `json:"kind"`
	Place  Location `json:"location"`
	Active bool     `json:"active"`
	// Owner says who runs the pool, "" for nobody.
	Owner string `json:"owner,omitempty"`
	// Catalog is how full the catalog is.
	Catalog Room `json:"catalog"`
	// Findings are what needs a person.
	Findings finding.List `json:"findings"`
}

// Status looks at a pool, whether a daemon runs it or not. It changes nothing,
// and writes nothing to the pool's disk.
func (h *Host) Status(ctx context.Context, c pool.Config) (*Status, error) {
	f, err := h.Find(ctx, c)
	if err != nil {
		return nil, err
	}
	if f.UUID == "" {
		return nil, f.absent()
	}
	s := &Status{Where: f.Volumes.Where(), Kind: string(f.Volumes.Kind), Place: LocationOf(c), Owner: f.Owner, Active: f.Live != nil}
	s.UUID = f.UUID
	if f.Group != nil {
		s.Data.Room, s.Metadata.Room = f.Group.Free, f.Group.Free
	}
	s.Findings = append(s.Findings, f.cutOff(h)...)
	record, room, err := f.readRecord() // never activates the catalog: status changes nothing
	if err != nil {
		s.Findings = append(s.Findings, finding.Finding{
			ID: "devmapper.catalog.unreadable", Severity: finding.Warning, Object: s.Where, Text: err.Error(),
			Meaning: "what the pool should be like cannot be compared with what it is", Remedy: "activate the volumes, or start the daemon, which does",
		})
	}
	s.Catalog = room
	if f.Live == nil {
		s.Findings = append(s.Findings, finding.Finding{
			ID: "devmapper.pool.inactive", Severity: finding.Info, Object: s.Where, Text: "the pool is not active",
			Meaning: "its fill is not known, and no snapshot can be used", Command: "systemctl start varve-devmapper", Remedy: "the daemon's start activates it",
		})
		return s, nil
	}
	s.fill(f, c)
	if err == nil {
		s.Findings = append(s.Findings, f.compare(record)...)
	}
	s.Findings = append(s.Findings, f.judge(c).Findings...)
	s.Findings.Sort()
	return s, nil
}

// fill takes the numbers from the kernel and from LVM.
func (s *Status) fill(f *Found, c pool.Config) {
	l := f.Live
	s.Device, s.TransactionID, s.BlockBytes, s.Mode, s.NeedsCheck = dm.Path(l.Name), l.TransactionID, l.BlockBytes, l.Mode, l.NeedsCheck
	s.Data.Used, s.Data.Total = l.DataUsed*l.BlockBytes, l.DataTotal*l.BlockBytes
	s.Metadata.Used, s.Metadata.Total = l.MetadataUsed*pool.MetadataBlock, l.MetadataTotal*pool.MetadataBlock
	s.Data.Floor = s.Data.Total / 100 * uint64(c.MinFreeData)
	s.Metadata.Floor = s.Metadata.Total / 100 * uint64(c.MinFreeMetadata)
	s.OutOfSpace = "queue"
	if l.ErrorIfFull {
		s.OutOfSpace = "error"
	} else {
		s.QueueFor = time.Duration(c.QueueFor)
	}
	for _, m := range f.Devices {
		if m.Thin() {
			s.Thins++
		}
	}
}

// judge asks the guardian what it thinks of the pool now.
func (f *Found) judge(c pool.Config) guard.Verdict {
	l := guard.Limits{
		Pool: f.Volumes.Where(), Group: f.Volumes.Group,
		MinFreeData: c.MinFreeData, MinFreeMetadata: c.MinFreeMetadata, ExtendAt: c.ExtendAt, ExtendBy: c.ExtendBy,
		Queue: c.OutOfSpace == "queue", QueueFor: time.Duration(c.QueueFor),
	}
	s := guard.Scene{
		Status: guard.Status{
			Data:     guard.Space{Used: f.Live.DataUsed * f.Live.BlockBytes, Total: f.Live.DataTotal * f.Live.BlockBytes},
			Metadata: guard.Space{Used: f.Live.MetadataUsed * pool.MetadataBlock, Total: f.Live.MetadataTotal * pool.MetadataBlock},
			Mode:     guard.Mode(f.Live.Mode), NeedsCheck: f.Live.NeedsCheck, ErrorIfFull: f.Live.ErrorIfFull,
		},
		KernelTimeout: guard.KernelTimeout(),
	}
	if f.Group != nil {
		s.Room = guard.Room{Bytes: f.Group.Free, Known: true}
	}
	return guard.Decide(l, s)
}

// cutOff reports a command that did not come to its end.
func (f *Found) cutOff(h *Host) finding.List {
	j, err := h.ReadJournal()
	if err != nil || j == nil || j.UUID != f.UUID {
		return nil
	}
	again := "varve-devmapper pool " + j.Call
	switch j.Call {
	case "create":
		again += " " + j.Target
	case "destroy":
		again += " " + j.UUID + " --yes " + j.Location.Flags()
	}
	return finding.List{{
		ID: "devmapper.pool.half-made", Severity: finding.Error, Object: f.Volumes.Where(),
		Text:    fmt.Sprintf("a `pool %s` that began at %s did not come to its end", j.Call, j.Started.Format(time.RFC3339)),
		Meaning: "the pool may lack a part", Command: again,
	}}
}

// compare says where pool and record differ.
func (f *Found) compare(r Record) finding.List {
	var list finding.List
	where := f.Volumes.Where()
	if r.UUID != f.UUID {
		list = append(list, finding.Finding{
			ID: "devmapper.catalog.foreign", Severity: finding.Error, Object: where,
			Text:    fmt.Sprintf("the record in the catalog is of the pool %s, the catalog of %s", r.UUID, f.UUID),
			Meaning: "the catalog was copied from another pool; the daemon refuses it", Remedy: "bring back the catalog that belongs to this pool",
		})
	}
	if f.Live.Mode != pool.ModeFail && f.Live.TransactionID != r.TransactionID && f.Live.TransactionID != r.Moving {
		list = append(list, finding.Finding{
			ID: "devmapper.pool.rolled-back", Severity: finding.Error, Object: where,
			Text:    fmt.Sprintf("the pool's transaction id is %d, and the catalog says %d", f.Live.TransactionID, r.TransactionID),
			Meaning: "one of the two comes from another time (a restored backup, a repair); the daemon refuses to write to it",
			Remedy:  "bring back both parts from the same time, or make a new pool",
		})
	}
	if total := f.Live.DataTotal * f.Live.BlockBytes; f.Live.Mode != pool.ModeFail && total < r.DataBytes {
		list = append(list, finding.Finding{
			ID: "devmapper.pool.shrank", Severity: finding.Error, Object: where,
			Text:    fmt.Sprintf("the pool has %s of data space, and has had %s", Bytes(total), Bytes(r.DataBytes)),
			Meaning: "blocks at its end are out of reach; the daemon refuses it", Remedy: "give the data device its size back",
		})
	}
	return list
}

// WriteText prints the status for a person.
func (s *Status) WriteText(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "pool\t%s\n", s.UUID)
	fmt.Fprintf(w, "lies at\t%s (%s)\n", s.Where, s.Kind)
	owner := s.Owner
	if owner == "" {
		owner = "nobody"
	}
	fmt.Fprintf(w, "owned by\t%s\n", owner)
	if s.Active {
		mode := s.Mode
		if s.NeedsCheck {
			mode += ", needs check"
		}
		fmt.Fprintf(w, "device\t%s\n", s.Device)
		fmt.Fprintf(w, "mode\t%s\n", mode)
		fmt.Fprintf(w, "data\t%s\n", spaceText(s.Data))
		fmt.Fprintf(w, "metadata\t%s\n", spaceText(s.Metadata))
		full := "a write gets an error at once"
		if s.OutOfSpace == "queue" {
			full = "a write waits, then gets an error"
			if s.QueueFor > 0 {
				full = fmt.Sprintf("a write waits %s, then gets an error", s.QueueFor)
			}
		}
		fmt.Fprintf(w, "when full\t%s (%s)\n", full, s.OutOfSpace)
		fmt.Fprintf(w, "chunk size\t%s\n", Bytes(s.BlockBytes))
		fmt.Fprintf(w, "transaction\t%d\n", s.TransactionID)
		fmt.Fprintf(w, "active thins\t%d\n", s.Thins)
	}
	if s.Catalog.Total > 0 {
		fmt.Fprintf(w, "catalog\t%s of %s used\n", Bytes(s.Catalog.Used), Bytes(s.Catalog.Total))
	}
	if s.Kind == string(pool.KindVolumeGroup) || s.Kind == string(pool.KindThinPool) {
		fmt.Fprintf(w, "group has free\t%s\n", Bytes(s.Data.Room))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(s.Findings) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	return s.Findings.WriteText(out)
}

func spaceText(f pool.Fill) string {
	percent := 0.0
	if f.Total > 0 {
		percent = float64(f.Used) / float64(f.Total) * 100
	}
	return fmt.Sprintf("%.1f %% of %s used; refuses new snapshots below %s free", percent, Bytes(f.Total), Bytes(f.Floor))
}
