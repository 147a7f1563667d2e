package podstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/varve-project/varve/test/bench/peer"
	"github.com/varve-project/varve/test/bench/result"
)

const (
	oursName = "varve run"
	bareName = "runc run + CNI ADD"
	// confinedName is the floor for a container with a seccomp profile.
	confinedName = "runc run with default seccomp + CNI ADD"
	ctrName      = peer.ContainerdVersion + " ctr run --cni"
)

// floors are what a start cannot be faster than.
var floors = []string{bareName, confinedName}

// phaseNote is said of the phases once.
const phaseNote = "phases overlap and contain others; `varve why POD` shows when each began"

// suite is everything that runs while the benchmark does.
type suite struct {
	Options
	out        io.Writer
	contenders []contender
	phases     []string // ours, in their order
	closers    []func() error
}

// start readies every contender and starts each once, unmeasured, so that all
// are warm.
func (s *suite) start(ctx context.Context) error {
	peers := filepath.Join(s.Bin, "peers")
	runc, archive := filepath.Join(peers, "runc"), filepath.Join(s.Dir, "stamp.tar")
	// containerd finds its shim, and the shim its runc, by PATH.
	if err := errors.Join(os.MkdirAll("/run/bench", 0o755), os.Setenv("PATH", peers+":"+os.Getenv("PATH"))); err != nil {
		return err
	}
	if err := s.tidyCgroups(); err != nil {
		return err
	}
	program, err := buildStamp(s.Dir)
	if err != nil {
		return err
	}
	if err := writeImage(program, archive); err != nil {
		return fmt.Errorf("make the image: %w", err)
	}
	if err := s.addOurs(ctx, runc, program, archive); err != nil {
		return err
	}
	if err := s.addPeers(ctx, peers, runc, archive); err != nil {
		return err
	}
	for _, c := range s.contenders {
		if _, _, err := c.start(ctx, "warm"); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// addOurs adds varve and the floor, which uses the same network; without
// varve that is the reference plug-ins'.
func (s *suite) addOurs(ctx context.Context, runc, program, archive string) error {
	confDir, plugins := filepath.Join(s.Dir, "net.d"), filepath.Join(s.Bin, "peers", "cni")
	if s.PeersOnly {
		if err := writeReferenceNetwork(confDir, "/run/bench/leases"); err != nil {
			return err
		}
	} else {
		o, err := newOurs(ctx, s.Bin, runc, s.Dir, archive)
		if o != nil {
			s.closers = append(s.closers, o.Close)
		}
		if err != nil {
			return err
		}
		s.contenders = append(s.contenders, contender{oursName, o.start})
		confDir, plugins = o.confDir(), s.Bin
	}
	for _, floor := range floors {
		b, err := newBare(ctx, runc, s.Dir, program, confDir, []string{plugins}, floor == confinedName)
		if err != nil {
			return err
		}
		s.contenders = append(s.contenders, contender{floor, b.start})
	}
	return nil
}

func (s *suite) addPeers(ctx context.Context, peers, runc, archive string) error {
	p, missing, err := newPodman(ctx, runc, s.Dir, archive)
	if p != nil {
		s.closers = append(s.closers, p.Close)
	}
	if err != nil {
		return err
	}
	if p == nil {
		fmt.Fprintf(s.out, "left out: %s\n", missing)
	} else {
		s.contenders = append(s.contenders, contender{p.name, p.start})
	}
	c, err := newCtr(ctx, peers, s.Dir, archive)
	if c != nil {
		s.closers = append(s.closers, c.containerd.Stop)
	}
	if err != nil {
		return err
	}
	s.contenders = append(s.contenders, contender{ctrName, c.start})
	return nil
}

// rows compares ours with the floor and its allowance, with each peer, and
// lists the phases.
func (s *suite) rows(f figures) []result.Row {
	var rows []result.Row
	mine := f[[2]string{oursName, ""}]
	for _, c := range s.contenders {
		if c.name == oursName {
			continue
		}
		row := result.Row{Name: "first process", Peer: c.name, Unit: "ms", Ours: mine, Theirs: f[[2]string{c.name, ""}]}
		if slices.Contains(floors, c.name) {
			rows = append(rows, row.Compare())
			row.Peer, row.Target = c.name+" + 30 ms", 1
			row.Theirs = nil
			for _, ms := range f[[2]string{c.name, ""}] {
				row.Theirs = append(row.Theirs, ms+allowance)
			}
		}
		rows = append(rows, row.Compare())
	}
	for _, name := range s.phases {
		rows = append(rows, result.Row{Name: "phase " + name, Peer: "-", Unit: "ms", Ours: f[[2]string{oursName, name}], Note: phaseNote})
	}
	for _, floor := range floors {
		for _, name := range []string{"CNI ADD", "runc run"} {
			rows = append(rows, result.Row{Name: "floor: " + name, Peer: floor, Unit: "ms", Theirs: f[[2]string{floor, name}]})
		}
	}
	return rows
}

// Close stops what was started, the last first.
func (s *suite) Close() error {
	var err error
	for i := len(s.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, s.closers[i]())
	}
	return err
}
