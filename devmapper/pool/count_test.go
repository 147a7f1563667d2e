package pool_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/dm/recorder"
	"github.com/varve-project/varve/devmapper/pool"
)

// The record of TestCounts, for TestReplay. It is made anew by
//
//	VARVE_UPDATE=1 go test -exec 'bin/vm run --share DIR/devmapper/pool/testdata --' -run TestCounts ./devmapper/pool/
//
// on a machine of the byte order in the name.
const (
	record     = "testdata/calls-little-endian.txt"
	recordHead = "testdata/calls-little-endian.pool"
	recordUUID = "01980248-fcfe-7000-8000-000000000001"
)

// ioctls are the names of what was recorded.
func ioctls(calls []recorder.Call) []string {
	list := []string{}
	for _, c := range calls {
		list = append(list, recorder.Name(c.Request))
	}
	return list
}

// children sums up what the processes did that this one started and waited
// for: it grows with any.
func children(t *testing.T) syscall.Rusage {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage); err != nil {
		t.Fatal(err)
	}
	return usage
}

// TestCounts holds what every call asks of the kernel, in order, and that none
// executes a program.
func TestCounts(t *testing.T) {
	var rec *recorder.Recorder
	l := newLab(t, 256*mib, 16*mib, recordUUID)
	ctl, err := dm.Open(dm.WithoutScan(), dm.WithKernel(func(k dm.Kernel) dm.Kernel {
		rec = recorder.Over(k)
		return rec
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer ctl.Close()
	p := l.open(func(o *pool.Options) { o.Control = ctl })
	defer l.close(p)
	var all []recorder.Call
	before := children(t)
	for _, step := range pool.Steps(t.Context(), p, l.newID(p), l.newID(p), l.newID(p)) {
		rec.Take()
		if err := step.Call(); err != nil {
			t.Fatalf("%s: %v", step.Name, err)
		}
		calls := rec.Take()
		if got := ioctls(calls); !slices.Equal(got, strings.Fields(step.Want)) {
			t.Errorf("%s: %v\nwant %s", step.Name, got, step.Want)
		}
		if !step.Disk {
			all = append(all, calls...)
		}
	}
	if after := children(t); after != before {
		t.Errorf("programs were executed: %+v, before %+v", after, before)
	}
	if os.Getenv("VARVE_UPDATE") != "" {
		head := fmt.Sprintf("%s %s %d\n", p.Name(), p.Number(), p.Event())
		update(t, record, recorder.Format(all))
		update(t, recordHead, []byte(head))
	}
}

func update(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestReplay makes the calls of TestCounts without a kernel: byte for byte the
// same is asked, whoever runs it.
func TestReplay(t *testing.T) {
	text, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	head, err := os.ReadFile(recordHead)
	if err != nil {
		t.Fatal(err)
	}
	var device, number string
	var event uint32
	if _, err := fmt.Fscan(bytes.NewReader(head), &device, &number, &event); err != nil {
		t.Fatal(err)
	}
	calls, err := recorder.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	player := recorder.Play(calls)
	p := pool.Replayed(dm.New(player), recordUUID, device, number)
	p.SetEvent(event)
	p.SetDiscardOnDelete(false)
	for _, step := range pool.Steps(t.Context(), p, 1, 2, 3) {
		if step.Disk {
			continue
		}
		before := player.Played()
		if err := step.Call(); err != nil {
			t.Fatalf("%s: %v", step.Name, err)
		}
		if got, want := player.Played()-before, len(strings.Fields(step.Want)); got != want {
			t.Errorf("%s: %d ioctls, want %d", step.Name, got, want)
		}
	}
	if left := player.Left(); left > 0 {
		t.Errorf("%d recorded calls were not made", left)
	}
}
