package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/devmapper/pool/setup"
	"github.com/varve-project/varve/internal/loop"
	"github.com/varve-project/varve/test/built"
)

const (
	mib      = 1 << 20
	testUUID = "11111111-2222-4333-8444-555555555555"
)

// bench is a place for pools: a root, a configuration file and disks.
type bench struct {
	t      *testing.T
	bin    string
	dir    string
	root   string
	config string
	env    []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ctl, err := dm.Open()
	if errdefs.IsNotImplemented(err) {
		t.Skip("kernel lacks: device-mapper")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = ctl.TargetVersion("thin-pool")
	_ = ctl.Close()
	if errdefs.IsNotImplemented(err) {
		t.Skip("kernel lacks: the thin-pool target of device-mapper")
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b := &bench{t: t, bin: built.Failpoint(t, "varve-devmapper"), dir: dir, root: filepath.Join(dir, "root"), config: filepath.Join(dir, "devmapper.toml")}
	t.Cleanup(b.sweep)
	return b
}

// disk is a sparse loop device; it is detached in the end.
func (b *bench) disk(bytes int64) string {
	b.t.Helper()
	f, err := os.CreateTemp(b.dir, "disk-*")
	must(b.t, err)
	must(b.t, errors.Join(f.Truncate(bytes), f.Close()))
	d, err := loop.Attach(context.Background(), f.Name(), loop.Options{})
	must(b.t, err)
	b.t.Cleanup(func() {
		b.sweep()
		if err := loop.Detach(context.Background(), d); err != nil {
			b.t.Errorf("%v: something of the pool is left on it", err)
		}
	})
	return d.Path
}

// sweep removes what a test that failed has left in the kernel.
func (b *bench) sweep() {
	if !b.t.Failed() {
		return
	}
	ctl, err := dm.Open()
	must(b.t, err)
	defer func() { _ = ctl.Close() }()
	for range 3 { // what lies on others goes first
		all, err := ctl.List()
		must(b.t, err)
		for _, e := range all {
			if strings.HasPrefix(e.Name, "varve-111111112222-") || strings.HasPrefix(e.Name, fmt.Sprintf("vt%d-", os.Getpid())) {
				_ = ctl.Remove(e.Name)
			}
		}
	}
}

// result is how a command ended.
type result struct {
	out, err string
	code     int
	killed   bool
}

func (b *bench) run(args ...string) result {
	b.t.Helper()
	return b.runWith(nil, args...)
}

func (b *bench) runWith(env []string, args ...string) result {
	b.t.Helper()
	args = append(append([]string{"pool"}, args...), "--root", b.root, "--config", b.config)
	cmd := exec.Command(b.bin, args...)
	cmd.Env = append(append(os.Environ(), "LVM_SUPPRESS_FD_WARNINGS=1"), append(b.env, env...)...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	r := result{out: out.String(), err: complaint.String(), code: cmd.ProcessState.ExitCode()}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
		r.killed = status.Signaled()
	}
	if err != nil && r.code == 0 && !r.killed {
		b.t.Fatalf("%v: %v", args, err)
	}
	return r
}

// do is run that must succeed.
func (b *bench) do(args ...string) result {
	b.t.Helper()
	r := b.run(args...)
	if r.code != 0 {
		b.t.Fatalf("pool %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r
}

// refused is run that must fail, say so, and change nothing.
func (b *bench) refused(says string, args ...string) {
	b.t.Helper()
	r := b.run(args...)
	if r.code == 0 || !strings.Contains(r.err, says) {
		b.t.Errorf("pool %s: exit %d, want a refusal that says %q:\n%s%s", strings.Join(args, " "), r.code, says, r.out, r.err)
	}
	if strings.Contains(r.err, "[1/") {
		b.t.Errorf("pool %s: a step ran before the refusal:\n%s", strings.Join(args, " "), r.err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shell runs a tool of the distribution, the second witness.
func shell(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LVM_SUPPRESS_FD_WARNINGS=1", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// lvm runs LVM as on a machine without udevd.
func lvm(t *testing.T, argv ...string) string {
	t.Helper()
	return shell(t, append([]string{"lvm", argv[0], "--config", "activation{udev_sync=0 udev_rules=0}"}, argv[1:]...)...)
}

func blank(t *testing.T, device string) {
	t.Helper()
	if out := shell(t, "wipefs", "--no-act", "--noheadings", device); strings.TrimSpace(out) != "" {
		t.Errorf("%s is not blank: %s", device, out)
	}
}

// shape is a way for a pool to lie.
type shape struct {
	create []string // flags of create
	place  []string // flags of the other commands
	disks  []string // blank again in the end
}

func (b *bench) shapes() map[string]func() shape {
	group := fmt.Sprintf("vt%d", os.Getpid())
	return map[string]func() shape{
		"disk": func() shape {
			d := b.disk(900 * mib)
			return shape{[]string{"--device", d, "--volume-group", group}, []string{"--volume-group", group}, []string{d}}
		},
		"devices": func() shape {
			data, metadata := b.disk(600*mib), b.disk(16*mib)
			flags := []string{"--data-device", data, "--metadata-device", metadata}
			return shape{flags, flags, []string{data, metadata}}
		},
		"files": func() shape {
			dir := filepath.Join(b.dir, "loop")
			return shape{[]string{"--loop-directory", dir, "--size", "300M"}, []string{"--loop-directory", dir}, nil}
		},
		"group": func() shape {
			d := b.disk(900 * mib)
			lvm(b.t, "vgcreate", "--quiet", "--yes", group, d)
			b.t.Cleanup(func() { lvm(b.t, "vgremove", "--yes", "--force", "--force", group) })
			flags := []string{"--volume-group", group}
			return shape{append([]string{"--size", "300M"}, flags...), flags, nil}
		},
		"thin pool": func() shape {
			d := b.disk(900 * mib)
			lvm(b.t, "vgcreate", "--quiet", "--yes", group, d)
			b.t.Cleanup(func() { lvm(b.t, "vgremove", "--yes", "--force", "--force", group) })
			lvm(b.t, "lvcreate", "--yes", "--type", "thin-pool", "--size", "300M", "--name", "mine", group)
			flags := []string{"--thin-pool", group + "/mine"}
			return shape{flags, flags, nil}
		},
	}
}

func with(flags []string, more ...string) []string {
	return append(append([]string{}, more...), flags...)
}

// Every way of a pool to lie: a dry run changes nothing and says what a run
// does; the pool that is made is one that the daemon's code opens; it is taken
// apart without a trace, and can be made again.
func TestPoolLife(t *testing.T) {
	for name := range (&bench{}).shapes() {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			s := b.shapes()[name]()
			create := with(s.create, "create", "--uuid", testUUID, "-o", "json")
			dry := b.do(with([]string{"--dry-run"}, create...)...)
			if _, err := os.Stat(b.root); err == nil {
				t.Error("the dry run made the daemon's root")
			}
			for _, d := range s.disks {
				blank(t, d)
			}
			if real := b.do(create...); real.out != dry.out {
				t.Errorf("the dry run said\n%s\nand the run did\n%s", dry.out, real.out)
			}
			b.open(s, func(p *pool.Pool) { makeThins(t, p, 3) })
			b.statusIs(s, 0)
			b.refused("already", with(s.create, "create")...)
			b.refused("say --yes", with(s.place, "destroy", testUUID)...)
			b.refused("name the pool", with(s.place, "destroy", "22222222-2222-4333-8444-555555555555", "--yes")...)
			b.do(with(s.place, "destroy", testUUID, "--yes")...)
			for _, d := range s.disks {
				blank(t, d)
			}
		})
	}
}

// location reads the pool's flags back into a configuration.
func (s shape) location(t *testing.T) pool.Config {
	t.Helper()
	c := pool.DefaultConfig()
	for i := 0; i+1 < len(s.place); i += 2 {
		*map[string]*string{
			"--volume-group": &c.VolumeGroup, "--thin-pool": &c.ThinPool, "--data-device": &c.DataDevice,
			"--metadata-device": &c.MetadataDevice, "--loop-directory": &c.LoopDirectory,
		}[s.place[i]] = s.place[i+1]
	}
	return c
}

// open opens the pool as the daemon does.
func (b *bench) open(s shape, use func(*pool.Pool)) {
	b.t.Helper()
	p, err := pool.Open(context.Background(), s.location(b.t), pool.Options{Directory: filepath.Join(b.dir, "state")})
	must(b.t, err)
	defer func() { must(b.t, p.Close()) }()
	if p.UUID() != testUUID {
		b.t.Errorf("the pool is %s, want %s", p.UUID(), testUUID)
	}
	use(p)
}

func makeThins(t *testing.T, p *pool.Pool, n int) {
	t.Helper()
	for range n {
		id, err := p.NewID(context.Background())
		must(t, err)
		must(t, p.Create(context.Background(), id))
	}
}

// statusIs compares status and check with what is.
func (b *bench) statusIs(s shape, thins int) {
	b.t.Helper()
	var status setup.Status
	must(b.t, json.Unmarshal([]byte(b.do(with(s.place, "status", "-o", "json")...).out), &status))
	if status.UUID != testUUID || !status.Active || status.Mode != "rw" || status.TransactionID != 1 || status.Owner != "" || status.Thins != thins || status.Data.Total < 256*mib || status.Catalog.Total == 0 {
		b.t.Errorf("status %+v", status)
	}
	var checked setup.Checked
	must(b.t, json.Unmarshal([]byte(b.do(with(s.place, "check", "-o", "json")...).out), &checked))
	if checked.Thins != 3 || len(checked.Findings) != 0 {
		b.t.Errorf("check %+v", checked)
	}
}
