package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/varve-project/varve/devmapper/pool"
)

// look reads what there is where the pool shall lie.
func (s *site) look(ctx context.Context, h *Host) error {
	for _, path := range s.named(s.way) {
		d, err := h.Look(ctx, path)
		if err != nil {
			return err
		}
		s.disks = append(s.disks, d)
	}
	if s.way == inFiles {
		return s.lookFiles()
	}
	if s.way == onTwoDevices && !h.hasLVM() {
		return nil // a pool without LVM on a machine without LVM
	}
	if len(s.disks) > 0 {
		if err := h.claimPVs(ctx, s.disks...); err != nil {
			return err
		}
	}
	name := s.groupName()
	if name == "" {
		return nil
	}
	var err error
	if s.group, err = h.LookGroup(ctx, name); err != nil {
		return err
	}
	if s.way == inThinPool {
		return s.lookLive()
	}
	return nil
}

// groupName is the volume group that the request is about; empty without LVM.
func (s *site) groupName() string {
	v, err := pool.Describe(s.location())
	if err != nil {
		return ""
	}
	return v.Group
}

// refuseDisks says which disk may not be taken and why. What this very
// creation has written on a disk before it was cut off is no reason.
func (s *site) refuseDisks(least uint64) error {
	for _, d := range s.disks {
		mine := *d
		if s.journal != nil {
			mine = s.without(mine)
		}
		if err := mine.refuse(least, s.ForceWipe); err != nil {
			return err
		}
	}
	return nil
}

// without is the disk less the traces of the creation that was cut off. The
// disk passed all checks before the journal was written, so what it shows now
// in these forms is ours.
func (s *site) without(d Disk) Disk {
	if s.way == onDisks && d.PV && (d.Group == "" || s.ours(d.Group)) {
		if d.Group != "" {
			d.Holders, d.Claimed = nil, ""
		}
		d.PV, d.Group, d.Owner = false, "", ""
		d.Signatures = slices.DeleteFunc(slices.Clone(d.Signatures), func(g Signature) bool { return g.Type == "LVM2_member" })
	}
	if s.way == onTwoDevices {
		d.ThinMetadata = false
		d.Signatures = slices.DeleteFunc(slices.Clone(d.Signatures), func(g Signature) bool { return g.UUID == s.id })
		if ours := func(name string) bool { return strings.HasPrefix(name, "/dev/mapper/"+devicePrefix(s.id)) }; len(d.Holders) > 0 && !slices.ContainsFunc(d.Holders, func(n string) bool { return !ours(n) }) {
			d.Holders, d.Claimed = nil, ""
		}
	}
	return d
}

// ours tells whether the volume group is the one that this creation makes.
func (s *site) ours(group string) bool {
	return s.group != nil && s.group.Name == group && owner(s.group.Tags) == s.id
}

// files are what there is in a loop directory.
type files struct{ names []string }

func (s *site) lookFiles() error {
	entries, err := os.ReadDir(s.LoopDirectory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--loop-directory: %w", err)
	}
	for _, e := range entries {
		s.files.names = append(s.files.names, e.Name())
	}
	return nil
}

// checkConfigFile refuses --write-config where there is a file.
func (c *Create) checkConfigFile() error {
	if !c.WriteConfig {
		return nil
	}
	text, err := os.ReadFile(c.Config)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("--write-config: %w", err)
	case string(text) == c.Snippet():
		return nil // written before this command was cut off
	}
	return fmt.Errorf("--write-config: %s exists and may hold what you chose; leave the flag away, and put what is printed there by hand", c.Config)
}
