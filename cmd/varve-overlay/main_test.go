package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/snapshotter/server"
	"github.com/varve-project/varve/test/built"
)

// daemon is a running varve-overlay.
type daemon struct {
	cmd  *exec.Cmd
	conn *grpc.ClientConn
	sn   snapshots.Snapshotter
}

type place struct{ dir, root, socket string }

func newPlace(t *testing.T) place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "vo")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return place{dir, filepath.Join(dir, "root"), filepath.Join(dir, "s")}
}

func (p place) args(more ...string) []string {
	return append(more, "--root", p.root, "--address", p.socket)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, p place) *daemon {
	t.Helper()
	d := &daemon{cmd: exec.Command(built.Path(t, "varve-overlay"), p.args()...)}
	var log strings.Builder
	d.cmd.Stderr = &log
	must(t, d.cmd.Start())
	t.Cleanup(func() { d.kill(); _ = d.cmd.Wait() })
	for range 1000 {
		conn, err := server.Dial(context.Background(), p.socket, time.Second)
		if err == nil {
			d.conn = conn
			t.Cleanup(func() { _ = conn.Close() })
			d.sn = proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), "varve-overlay")
			// The socket is there before the start's repair is over; an
			// answer is not.
			must(t, d.sn.Walk(t.Context(), func(context.Context, snapshots.Info) error { return nil }))
			return d
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the daemon does not listen: %s", log.String())
	return nil
}

func (d *daemon) kill() { _ = d.cmd.Process.Kill() }

// run runs the command and returns its output.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(built.Path(t, "varve-overlay"), args...).CombinedOutput()
	return string(out), err
}

// TestKillAndRestart: the daemon is killed in the middle of many calls, again
// and again; afterwards everything acknowledged is there and nothing else.
func TestKillAndRestart(t *testing.T) {
	p := newPlace(t)
	var mu sync.Mutex
	committed, removed := map[string]bool{}, map[string]bool{}
	for round := range 4 {
		d := start(t, p)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		var group sync.WaitGroup
		for client := range 8 {
			group.Add(1)
			go func() {
				defer group.Done()
				for i := 0; ; i++ {
					key := fmt.Sprintf("%d-%d-%d", round, client, i)
					m, err := d.sn.Prepare(ctx, key, "")
					if err != nil {
						return
					}
					if os.WriteFile(filepath.Join(upper(m), "f"), []byte(key), 0o644) != nil {
						return
					}
					if d.sn.Commit(ctx, key+"c", key) != nil {
						return
					}
					mu.Lock()
					committed[key+"c"] = true
					mu.Unlock()
					if i%2 == 0 {
						continue
					}
					if d.sn.Remove(ctx, key+"c") != nil {
						mu.Lock()
						delete(committed, key+"c") // nobody knows
						mu.Unlock()
						return
					}
					mu.Lock()
					delete(committed, key+"c")
					removed[key+"c"] = true
					mu.Unlock()
				}
			}()
		}
		time.Sleep(time.Duration(100+50*round) * time.Millisecond)
		d.kill()
		group.Wait()
		cancel()
		_ = d.cmd.Wait()
	}
	d := start(t, p)
	ctx := t.Context()
	for name := range committed {
		m, err := d.sn.View(ctx, name+"v", name)
		if err != nil {
			t.Errorf("an acknowledged commit is lost: %v", err)
			continue
		}
		got, err := os.ReadFile(filepath.Join(m[0].Source, "f"))
		if err != nil || string(got) != strings.TrimSuffix(name, "c") {
			t.Errorf("%s holds %q (%v)", name, got, err)
		}
		must(t, d.sn.Remove(ctx, name+"v"))
	}
	for name := range removed {
		if _, err := d.sn.Stat(ctx, name); !errdefs.IsNotFound(err) {
			t.Errorf("an acknowledged Remove came back: %s: %v", name, err)
		}
	}
	if len(committed) == 0 || len(removed) == 0 {
		t.Errorf("%d commits and %d removes were acknowledged; the test has tested nothing", len(committed), len(removed))
	}
	leaves(t, d, p)
}

// leaves removes everything and checks that nothing is left behind.
func leaves(t *testing.T, d *daemon, p place) {
	t.Helper()
	var names []string
	must(t, d.sn.Walk(t.Context(), func(_ context.Context, i snapshots.Info) error { names = append(names, i.Name); return nil }))
	for _, n := range names {
		must(t, d.sn.Remove(t.Context(), n))
	}
	must(t, d.sn.(snapshots.Cleaner).Cleanup(t.Context()))
	for _, dir := range []string{"layers", "work", "trash", "usage", "scratch"} {
		left, err := os.ReadDir(filepath.Join(p.root, dir))
		if err != nil || len(left) > 0 {
			t.Errorf("%s holds %d entries (%v)", dir, len(left), err)
		}
	}
}

func upper(m []mount.Mount) string {
	for _, o := range m[0].Options {
		if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
			return dir
		}
	}
	return ""
}

// TestAuditAndDoctor: with a daemon and without one.
func TestAuditAndDoctor(t *testing.T) {
	p := newPlace(t)
	found := func(args ...string) map[string]finding.Finding {
		t.Helper()
		out, err := run(t, p.args(args...)...)
		var list finding.List
		if err != nil || json.Unmarshal([]byte(out), &list) != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		ids := map[string]finding.Finding{}
		for _, f := range list {
			ids[f.ID] = f
		}
		return ids
	}
	if got := found("doctor", "-o", "json"); got["overlay.records.unreadable"].ID != "" {
		t.Errorf("doctor before the first start: %v", got)
	}
	d := start(t, p)
	orphan := filepath.Join(p.root, "layers", "zz")
	must(t, os.Mkdir(orphan, 0o755))
	for _, command := range []string{"audit", "doctor"} {
		f := found(command, "-o", "json")["overlay.layer.orphan"]
		if f.Object != orphan || !f.Orphan || !strings.Contains(f.Command, "audit --fix") {
			t.Errorf("%s with a daemon finds %+v", command, f)
		}
	}
	must(t, d.cmd.Process.Signal(syscall.SIGTERM))
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	if f := found("audit", "-o", "json")["overlay.layer.orphan"]; f.Object != orphan {
		t.Errorf("audit without a daemon finds %+v", f)
	}
	if out, err := run(t, p.args("audit", "--fix")...); err == nil || !strings.Contains(out, "start varve-overlay") {
		t.Errorf("audit --fix without a daemon: %v\n%s", err, out)
	}
	must(t, os.MkdirAll(filepath.Join(p.root, "layers", "zz"), 0o755))
	d = start(t, p)
	must(t, os.MkdirAll(filepath.Join(p.root, "layers", "yy"), 0o755))
	if out, err := run(t, p.args("audit", "--fix")...); err != nil {
		t.Errorf("audit --fix: %v\n%s", err, out)
	}
	if f, bad := found("audit", "-o", "json")["overlay.layer.orphan"]; bad {
		t.Errorf("after audit --fix there is %+v", f)
	}
	leaves(t, d, p)
}

func TestStanza(t *testing.T) {
	p := newPlace(t)
	out, err := run(t, p.args("stanza")...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"[proxy_plugins.varve-overlay]", `type = "snapshot"`, fmt.Sprintf("address = %q", p.socket), fmt.Sprintf("root = %q", p.root)} {
		if !strings.Contains(out, want) {
			t.Errorf("the stanza lacks %s:\n%s", want, out)
		}
	}
	if _, err := os.Stat(p.root); err == nil {
		t.Errorf("stanza made %s", p.root)
	}
}

func TestBadConfiguration(t *testing.T) {
	p := newPlace(t)
	for _, c := range []struct{ text, want string }{
		{"quota = \"maybe\"\n", "quota"},
		{"[server]\ncall_timeout = \"0s\"\n", "call_timeout"},
		{"mount_options = [\"metacopy=on\"]\n", "metacopy"},
	} {
		file := filepath.Join(p.dir, "c.toml")
		must(t, os.WriteFile(file, []byte(c.text), 0o600))
		out, err := run(t, p.args("config", "check", "--config", file)...)
		if err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%q: %v, want an error that names %s\n%s", c.text, err, c.want, out)
		} else if e := (*exec.ExitError)(nil); errors.As(err, &e) && e.ExitCode() != 2 {
			t.Errorf("%q: exit code %d, want 2", c.text, e.ExitCode())
		}
	}
}
