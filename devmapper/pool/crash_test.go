//go:build failpoint

package pool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
)

// The calls that TestKilled has a child process make, on a pool with two thin
// devices: 1 is active and holds "kept", 2 is a snapshot of it and is not.
var crashCalls = map[string]func(context.Context, *pool.Pool) error{
	"open":     func(context.Context, *pool.Pool) error { return nil },
	"create":   func(ctx context.Context, p *pool.Pool) error { return p.Create(ctx, 3) },
	"snapshot": func(ctx context.Context, p *pool.Pool) error { return p.Snapshot(ctx, 3, 1) },
	"activate": func(ctx context.Context, p *pool.Pool) error {
		_, err := p.Activate(ctx, 2, pool.Activation{Bytes: 32 * mib})
		return err
	},
	"grow": func(ctx context.Context, p *pool.Pool) error {
		_, err := p.Activate(ctx, 1, pool.Activation{Bytes: 64 * mib})
		return err
	},
	"deactivate": func(ctx context.Context, p *pool.Pool) error { return p.Deactivate(ctx, 1, false) },
	"flush":      func(ctx context.Context, p *pool.Pool) error { return p.Flush(ctx, 1) },
	"delete":     func(ctx context.Context, p *pool.Pool) error { return p.Delete(ctx, 2) },
	"thins": func(ctx context.Context, p *pool.Pool) error {
		_, err := p.Thins(ctx)
		return err
	},
	"newid": func(ctx context.Context, p *pool.Pool) error {
		_, err := p.NewID(ctx)
		return err
	},
}

const crashCall = "VARVE_POOL_CRASH"

// TestCrashChild is no test: it is the process that TestKilled kills.
func TestCrashChild(t *testing.T) {
	call := os.Getenv(crashCall)
	if call == "" {
		return
	}
	c := pool.DefaultConfig()
	c.DataDevice, c.MetadataDevice = os.Getenv("POOL_DATA"), os.Getenv("POOL_METADATA")
	p, err := pool.Open(t.Context(), c, pool.Options{Directory: os.Getenv("POOL_DIRECTORY")})
	if err != nil {
		t.Fatal(err)
	}
	if err := crashCalls[call](t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// child runs a call in a process of its own and tells whether it was killed.
func (l *lab) child(call string, env ...string) (killed bool) {
	l.t.Helper()
	cmd := exec.CommandContext(l.t.Context(), os.Args[0], "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), crashCall+"="+call,
		"POOL_DATA="+l.data.Path, "POOL_METADATA="+l.metadata.Path, "POOL_DIRECTORY="+l.directory)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
			return true
		}
	}
	if err != nil {
		l.t.Fatalf("%s: %v\n%s", call, err, out)
	}
	return false
}

// TestKilled kills a process at every failpoint of every call, and starts
// again: nothing is suspended, half made or held, the data is as it was, and
// no id is left that nobody knows.
func TestKilled(t *testing.T) {
	for _, call := range []string{"open", "newid", "create", "snapshot", "activate", "grow", "deactivate", "flush", "delete", "thins"} {
		t.Run(call, func(t *testing.T) {
			l := newLab(t, 256*mib, 16*mib)
			l.config = pool.DefaultConfig()
			l.config.DataDevice, l.config.MetadataDevice = l.data.Path, l.metadata.Path
			p := l.open()
			l.scene(p)
			l.close(p)
			points := l.points(call)
			if len(points) < 2 {
				t.Fatalf("failpoints %v", points)
			}
			l.repair(t)
			for _, point := range sample(points) {
				if !l.child(call, "VARVE_FAILPOINT="+point+"=kill") {
					t.Fatalf("%s was not reached", point)
				}
				l.repair(t)
			}
			t.Logf("%d points: %v", len(points), points)
		})
	}
}

// sample takes a third of the points, by a fixed seed; VARVE_CRASH_FULL=1
// takes all.
func sample(points []string) []string {
	if os.Getenv("VARVE_CRASH_FULL") == "1" {
		return points
	}
	chosen := slices.Clone(points)
	r := rand.New(rand.NewPCG(1, uint64(len(points))))
	r.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	return chosen[:(len(chosen)+2)/3]
}

// points learns the failpoints of a call by running it once; those of opening
// the pool are the call "open"'s own.
func (l *lab) points(call string) []string {
	l.t.Helper()
	log := filepath.Join(l.t.TempDir(), "log")
	l.child(call, "VARVE_FAILPOINT_LOG="+log)
	text, err := os.ReadFile(log)
	if err != nil {
		l.t.Fatal(err)
	}
	points := strings.Fields(string(text))
	slices.Sort(points)
	points = slices.Compact(points)
	if call != "open" {
		points = slices.DeleteFunc(points, func(p string) bool { return strings.HasPrefix(p, "pool.open.") })
	}
	// Opening the pool passes this one every time, so that it would kill
	// before the call.
	return slices.DeleteFunc(points, func(p string) bool { return p == "dm.activate.create.before" })
}

// scene brings the pool to the state from which each call starts, whatever the
// one before left: through a record of the test's own, as an owner would.
func (l *lab) scene(p *pool.Pool) {
	l.t.Helper()
	ctx := l.t.Context()
	for id := pool.ThinID(1); id <= 3; id++ {
		if err := errors.Join(p.Deactivate(ctx, id, false), p.Delete(ctx, id)); err != nil {
			l.t.Fatal(err)
		}
	}
	for l.newID(p) < 3 {
	}
	if err := p.Create(ctx, 1); err != nil {
		l.t.Fatal(err)
	}
	path, err := p.Activate(ctx, 1, pool.Activation{Bytes: 32 * mib})
	if err != nil {
		l.t.Fatal(err)
	}
	write(l.t, path, 0, "kept")
	if err := p.Snapshot(ctx, 2, 1); err != nil {
		l.t.Fatal(err)
	}
}

// repair starts again after a kill, looks at what is there, and sets the scene
// anew.
func (l *lab) repair(t *testing.T) {
	t.Helper()
	p := l.open()
	defer l.close(p)
	for tail, info := range l.devices() {
		if info.Suspended || !info.Live || info.Inactive || strings.HasSuffix(tail, "-discard") {
			t.Errorf("after a start: %s: %+v", tail, info)
		}
	}
	_, status, err := l.ctl.Status(p.Name(), dm.StatusOptions{NoFlush: true})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := pool.ParseReport(status[0].Status); err != nil || r.HeldRoot != 0 {
		t.Errorf("after a start the pool says %q", status[0].Status)
	}
	path, err := p.Activate(t.Context(), 1, pool.Activation{Bytes: 32 * mib})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, path, 0, 4); got != "kept" {
		t.Errorf("after a start the device holds %q", got)
	}
	// The owner has records of 1 and 2 only.
	if _, err := p.Reclaim(t.Context(), func(id pool.ThinID) bool { return id <= 2 }); err != nil {
		t.Fatal(err)
	}
	for _, id := range l.thins(p) {
		if id > 2 {
			t.Errorf("the id %d is leaked", id)
		}
	}
	if err := os.WriteFile(filepath.Join(p.Catalog(), "probe"), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		t.Error(fmt.Errorf("the catalog takes no file: %w", err))
	}
	l.scene(p)
}
