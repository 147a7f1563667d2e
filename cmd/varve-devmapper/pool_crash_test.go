package main_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-project/varve/devmapper/pool"
)

// killed runs a command again and again, each time killed one step further on,
// and then to its end: each run takes up what the one before it left. The
// point behind a step is not tried, it is the point before the next.
func (b *bench) killed(args ...string) {
	b.t.Helper()
	var plan struct {
		Steps []struct{ Name string }
	}
	dry := b.do(append([]string{args[0], "--dry-run", "-o", "json"}, args[1:]...)...)
	must(b.t, json.Unmarshal([]byte(dry.out), &plan))
	if len(plan.Steps) < 4 {
		b.t.Fatalf("the plan of %s has only the steps %v", args[0], plan.Steps)
	}
	tried := map[string]bool{}
	for _, step := range plan.Steps {
		if tried[step.Name] {
			continue
		}
		tried[step.Name] = true
		point := "setup." + args[0] + "." + step.Name + ".before"
		if r := b.runWith([]string{"VARVE_FAILPOINT=" + point + "=kill"}, args...); !r.killed {
			b.t.Fatalf("%s did not come to %s: exit %d\n%s", args[0], point, r.code, r.err)
		}
	}
	b.do(args...)
	if notes, _ := filepath.Glob(filepath.Join(b.root, "*.json")); len(notes) != 0 {
		b.t.Errorf("notes are left: %v", notes)
	}
}

// A creation and a destruction that are killed at every step end well when
// they are run again, and leave what an undisturbed one leaves.
func TestPoolKilled(t *testing.T) {
	for _, name := range []string{"disk", "devices", "files"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			s := b.shapes()[name]()
			b.killed(append([]string{"create", "--uuid", testUUID}, s.create...)...)
			b.open(s, func(p *pool.Pool) {
				makeThins(t, p, 2)
				if thins, err := p.Thins(context.Background()); err != nil || len(thins) != 2 {
					t.Errorf("the pool holds %v, %v", thins, err)
				}
			})
			b.killed(append([]string{"destroy", testUUID, "--yes"}, s.place...)...)
			for _, d := range s.disks {
				blank(t, d)
			}
			if out := shell(t, "dmsetup", "ls"); strings.Contains(out, "varve-111111112222") {
				t.Errorf("devices are left: %s", out)
			}
		})
	}
}
