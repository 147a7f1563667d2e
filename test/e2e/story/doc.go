// Package story is what the demo tells: a person with a fresh node who uses
// `varve` by its command line only. It prints each command and what came of
// it, checks what it claims, and ends with a table of the steps and what is
// left in the kernel.
//
// It imports no part of the product: what a user cannot see, it does not know.
// It runs in a node of its own (test/node), where whatever it finds in the
// kernel is its own.
package story

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/varve-project/varve/test/leak"
)

// Options say what the story is told with.
type Options struct {
	// Bin holds our binaries; Runc is the OCI runtime.
	Bin, Runc string
	// Snapshotter is the plug-in's short name: overlay, devmapper.
	Snapshotter string
	// Dir is a folder for this story alone. Sweep removes it.
	Dir string
	// Busybox and Debian are image archives.
	Busybox, Debian string
}

// story is the telling.
type story struct {
	Options
	out   io.Writer
	root  string // of the suite
	home  string // where the manifests are
	scope leak.Scope
	// before is what the kernel held before anything was started.
	before leak.Snapshot
	// first is what the doctor found at his first visit.
	first map[finding]bool
	steps []told
}

// told is a step that has been told.
type told struct {
	title string
	took  time.Duration
	err   error
}

// step is one chapter.
type step struct {
	title string
	tell  func(*story, context.Context) error
}

// steps is the story in its order.
var steps = []step{
	{"daemons started, doctor asked", (*story).daemons},
	{"two images loaded", (*story).images},
	{"web pod: init, two containers, claim, host port, probe", (*story).web},
	{"deleted files of upper layers stay deleted", (*story).deletions},
	{"client reaches it by pod IP and host port, IPv4 and IPv6", (*story).network},
	{"two pods listen on one port", (*story).twins},
	{"volume written, snapshot taken and restored, digests equal", (*story).volume},
	{"supervisor killed with SIGKILL: pod goes on, adopted, restarted", (*story).killSupervisor},
	{"snapshotter killed with SIGKILL: the pods go on", (*story).killDaemon},
	{"the story of a start, and doctor again", (*story).why},
	{"everything removed, daemons stopped", (*story).remove},
}

// Tell tells the story. After it, however it ended, Sweep is to be called
// outside the node.
func Tell(ctx context.Context, o Options, out io.Writer) error {
	s := &story{Options: o, out: out}
	if err := s.open(); err != nil {
		return err
	}
	for _, step := range steps {
		if err := s.tell(ctx, step); err != nil {
			s.close()
			s.table()
			return fmt.Errorf("%s: %w", step.title, err)
		}
	}
	s.table()
	return s.count(ctx)
}

func (s *story) tell(ctx context.Context, step step) error {
	fmt.Fprintf(s.out, "\n== %d. %s\n", len(s.steps)+1, step.title)
	start := time.Now()
	err := step.tell(s, ctx)
	if err == nil {
		err = ctx.Err()
	}
	s.steps = append(s.steps, told{step.title, time.Since(start), err})
	return err
}

// state is where the suite keeps what a reboot clears: the default, in the
// node's own /run.
const state = "/run/varve"

// varve is the path of the command line.
func (s *story) varve() string { return filepath.Join(s.Bin, "varve") }
