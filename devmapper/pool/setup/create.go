package setup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/varve-project/varve/devmapper/pool"
)

// Create is what `pool create` is asked for. Exactly one way says where the
// pool shall lie: Devices (with VolumeGroup as the new group's name),
// VolumeGroup alone (an existing one), ThinPool, DataDevice with
// MetadataDevice, or LoopDirectory.
type Create struct {
	Devices                    []string
	VolumeGroup                string
	ThinPool                   string
	DataDevice, MetadataDevice string
	LoopDirectory              string

	// Size is the data space; 0 takes what there is. A loop pool needs it.
	Size Bytes
	// Chunk and Metadata are 0 for our choice.
	Chunk, Metadata Bytes
	// SkipZeroing leaves old content in newly mapped chunks.
	SkipZeroing bool
	// ForceWipe names devices whose content is given up.
	ForceWipe []string
	// UUID is the new pool's identity; empty draws one.
	UUID string
	// Config is the daemon's file; WriteConfig writes it.
	Config      string
	WriteConfig bool
	// Settings are the [pool] keys that do not say where the pool lies.
	Settings pool.Config
}

// defaultGroup is the volume group that create makes of raw disks.
const defaultGroup = "varve"

// way is how a pool is asked for.
type way int

const (
	onDisks way = iota
	inGroup
	inThinPool
	onTwoDevices
	inFiles
)

func (c *Create) way() (way, error) {
	var ways []string
	found := onDisks
	for _, w := range []struct {
		flag string
		way  way
		set  bool
	}{
		{"--device", onDisks, len(c.Devices) > 0},
		{"--volume-group", inGroup, c.VolumeGroup != "" && len(c.Devices) == 0},
		{"--thin-pool", inThinPool, c.ThinPool != ""},
		{"--data-device with --metadata-device", onTwoDevices, c.DataDevice != "" || c.MetadataDevice != ""},
		{"--loop-directory", inFiles, c.LoopDirectory != ""},
	} {
		if w.set {
			ways, found = append(ways, w.flag), w.way
		}
	}
	switch len(ways) {
	case 0:
		return 0, errors.New("say where the pool shall lie: --device /dev/sdX (a raw disk), --volume-group, --thin-pool, --data-device with --metadata-device, or --loop-directory to try it out")
	case 1:
		return found, c.check(found)
	}
	return 0, fmt.Errorf("%s: one pool only, keep one of them", strings.Join(ways, " and "))
}

// check refuses what does not go together, before anything is looked at.
func (c *Create) check(w way) error {
	if _, err := uuid.Parse(c.UUID); c.UUID != "" && err != nil {
		return fmt.Errorf("--uuid %q: %w", c.UUID, err)
	}
	named := c.named(w)
	for i, d := range named {
		if !filepath.IsAbs(d) {
			return fmt.Errorf("device %q: give an absolute path such as /dev/sdb", d)
		}
		if slices.Contains(named[:i], d) {
			return fmt.Errorf("device %s is given twice", d)
		}
	}
	for _, d := range c.ForceWipe {
		if !slices.Contains(named, d) {
			return fmt.Errorf("--force-wipe %s: this device is not one that is asked for (%s); name exactly what shall be wiped", d, strings.Join(named, ", "))
		}
	}
	switch {
	case w == inFiles && c.Size == 0:
		return errors.New("--loop-directory needs --size: the files could fill the host's file system")
	case w == inThinPool && (c.Size != 0 || c.Chunk != 0 || c.Metadata != 0 || c.SkipZeroing):
		return errors.New("--thin-pool takes the volume as it is: --size, --chunk-size, --metadata-size and --skip-block-zeroing do not go with it")
	case w == onTwoDevices && (c.Size != 0 || c.Metadata != 0):
		return errors.New("--data-device and --metadata-device are taken whole: --size and --metadata-size do not go with them")
	case c.Size != 0 && uint64(c.Size) < minData:
		return fmt.Errorf("--size %s: less than %s holds no image worth the name", c.Size, Bytes(minData))
	case !filepath.IsAbs(c.LoopDirectory) && w == inFiles:
		return fmt.Errorf("--loop-directory %q: give an absolute path", c.LoopDirectory)
	}
	return c.location().Check()
}

// named are the block devices that the command names.
func (c *Create) named(w way) []string {
	switch w {
	case onDisks:
		return c.Devices
	case onTwoDevices:
		return []string{c.DataDevice, c.MetadataDevice}
	}
	return nil
}

// location is the [pool] table for this pool.
func (c *Create) location() pool.Config {
	p := c.Settings
	p.VolumeGroup, p.ThinPool, p.DataDevice, p.MetadataDevice, p.LoopDirectory = "", c.ThinPool, c.DataDevice, c.MetadataDevice, c.LoopDirectory
	switch {
	case c.VolumeGroup != "":
		p.VolumeGroup = c.VolumeGroup
	case len(c.Devices) > 0:
		p.VolumeGroup = defaultGroup
	}
	return p
}

// Plan looks at what there is and returns what is to be done, or why not. It
// changes nothing. The UUID is that of a creation that was cut off, the one
// that was asked for, or a new one.
func (c *Create) Plan(ctx context.Context, h *Host) (*Plan, error) {
	w, err := c.way()
	if err != nil {
		return nil, err
	}
	s := &site{Create: c, way: w, id: c.UUID}
	if err := s.resume(h); err != nil {
		return nil, err
	}
	if s.id == "" {
		s.id = uuid.NewString()
	}
	if err := s.look(ctx, h); err != nil {
		return nil, err
	}
	if err := c.checkConfigFile(); err != nil {
		return nil, err
	}
	return s.plan()
}

// site is a request with what was found where it shall be carried out.
type site struct {
	*Create
	way     way
	id      string
	journal *Journal
	// what there is
	disks []*Disk
	group *Group
	live  *live // of an existing thin pool
	files files
	// chunk is the block size of a pool without LVM.
	chunk uint64
}

// resume takes up a creation that was cut off, or says what stands in the way.
func (s *site) resume(h *Host) error {
	j, err := h.ReadJournal()
	if j == nil || err != nil {
		return err
	}
	switch {
	case j.Call != "create":
		return fmt.Errorf("a `pool %s` of %s (pool %s) was cut off: run it again first, then create", j.Call, j.Target, j.UUID)
	case j.Target != s.target():
		return fmt.Errorf("the creation of another pool was cut off, on %s: finish it (varve-devmapper pool create %s) or undo it (varve-devmapper pool destroy --yes %s)", j.Target, j.Target, j.UUID)
	case s.UUID != "" && s.UUID != j.UUID:
		return fmt.Errorf("--uuid %s: the creation that was cut off here is of pool %s; leave the flag away to go on with it", s.UUID, j.UUID)
	}
	s.journal, s.id = j, j.UUID
	return nil
}

// target is the request's location as flags.
func (c *Create) target() string {
	var words []string
	add := func(flag, value string) {
		if value != "" {
			words = append(words, flag, value)
		}
	}
	for _, d := range c.Devices {
		add("--device", d)
	}
	add("--volume-group", c.VolumeGroup)
	add("--thin-pool", c.ThinPool)
	add("--data-device", c.DataDevice)
	add("--metadata-device", c.MetadataDevice)
	add("--loop-directory", c.LoopDirectory)
	return strings.Join(words, " ")
}

func (s *site) plan() (*Plan, error) {
	p := &Plan{Call: "create", UUID: s.id}
	if s.journal != nil {
		p.note("this goes on with the creation of pool %s that was cut off at %s", s.id, s.journal.Started.Format("2006-01-02 15:04:05"))
	} else {
		p.add("note", "note the intent, so that a creation that is cut off can be taken up", Begin{Journal{
			Call: "create", UUID: s.id, Target: s.target(), Devices: s.named(s.way), Location: LocationOf(s.location())}})
	}
	var err error
	switch s.way {
	case onDisks:
		err = s.planDisks(p)
	case inGroup:
		err = s.planGroup(p)
	case inThinPool:
		err = s.planThinPool(p)
	case onTwoDevices:
		err = s.planTwoDevices(p)
	case inFiles:
		err = s.planFiles(p)
	}
	if err != nil {
		return nil, err
	}
	s.planConfig(p)
	p.add("done", "the pool is whole", End{})
	return p, nil
}
