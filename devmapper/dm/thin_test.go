package dm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/devmapper/dm"
)

const (
	poolBlock  = 128 // sectors: 64 KiB
	thinLength = 8 * sectorsPerMiB
)

// pool makes a thin pool of 16 MiB whose low-water mark is at so many free
// blocks, and returns its name.
func pool(t *testing.T, c *dm.Control, lowWater int) string {
	t.Helper()
	meta, data := disk(t, 4), disk(t, 16)
	pool := name(t, c, "pool")
	activate(t, c, pool, dm.Target{
		Length: 16 * sectorsPerMiB, Type: "thin-pool",
		Params: fmt.Sprintf("%s %s %d %d 1 error_if_no_space", meta, data, poolBlock, lowWater),
	})
	return pool
}

// thin makes a thin device in the pool and activates it.
func thin(t *testing.T, c *dm.Control, pool string, id int) (name_, path string) {
	t.Helper()
	send(t, c, pool, fmt.Sprintf("create_thin %d", id))
	device := name(t, c, fmt.Sprintf("thin%d", id))
	return device, activate(t, c, device, thinTarget(c, pool, id))
}

func thinTarget(c *dm.Control, pool string, id int) dm.Target {
	return dm.Target{Length: thinLength, Type: "thin", Params: fmt.Sprintf("%s %d", c.Path(pool), id)}
}

func send(t *testing.T, c *dm.Control, pool, message string) {
	t.Helper()
	if answer, err := c.Message(pool, 0, message); err != nil || answer != "" {
		t.Fatalf("%q, %v", answer, err)
	}
}

// write fills so many MiB of the device and syncs it.
func write(t *testing.T, path string, mib int, fill byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.Write(bytes.Repeat([]byte{fill}, mib<<20))
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func firstByte(t *testing.T, path string) byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		t.Fatal(err)
	}
	return b[0]
}

// A thin device, a snapshot of it while it is active, and what the pool says
// of ids that are taken or are not there.
func TestThin(t *testing.T) {
	c := open(t)
	pool := pool(t, c, 0)
	origin, path := thin(t, c, pool, 1)
	write(t, path, 1, 'o')
	agree(t, c, pool)
	agree(t, c, origin)
	if _, status, err := c.Status(origin, dm.StatusOptions{}); err != nil || len(status) != 1 || !strings.HasPrefix(status[0].Status, fmt.Sprint(1*sectorsPerMiB, " ")) {
		t.Errorf("%+v, %v: want 1 MiB mapped", status, err)
	}
	if deps, err := c.Deps(origin); err != nil || len(deps) != 1 || fmt.Sprintf("1 dependencies\t: (%s)", c.Path(pool)[len("/dev/mapper/"):]) != dmsetup(t, "deps", "-o", "devname", origin) {
		t.Errorf("%v, %v; dmsetup %s", deps, err, dmsetup(t, "deps", "-o", "devname", origin))
	}
	if err := c.Suspend(origin, dm.SuspendOptions{}); err != nil {
		t.Fatal(err)
	}
	_, snap := c.Message(pool, 0, "create_snap 2 1")
	if err := errors.Join(snap, c.Resume(origin)); err != nil {
		t.Fatal(err)
	}
	write(t, path, 1, 'n')
	snapshot := name(t, c, "snap")
	snapPath := activate(t, c, snapshot, thinTarget(c, pool, 2))
	if was, is := firstByte(t, snapPath), firstByte(t, path); was != 'o' || is != 'n' {
		t.Errorf("snapshot %q, origin %q", was, is)
	}
	for message, kind := range map[string]func(error) bool{
		"create_thin 1":   errdefs.IsAlreadyExists,
		"create_snap 1 2": errdefs.IsAlreadyExists,
		"create_snap 3 9": errdefs.IsNotFound,
		"delete 9":        errdefs.IsNotFound,
		"delete 1":        errdefs.IsFailedPrecondition, // it is active
		"nonsense":        errdefs.IsInvalidArgument,
	} {
		if _, err := c.Message(pool, 0, message); !kind(err) || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: %v", message, err)
		}
	}
	// A device that grows: a longer table over the live one.
	longer := thinTarget(c, pool, 2)
	longer.Length *= 2
	if err := errors.Join(c.Load(snapshot, false, longer), c.Resume(snapshot)); err != nil {
		t.Fatal(err)
	}
	agree(t, c, snapshot)
	if err := errors.Join(c.Remove(snapshot), c.Remove(origin)); err != nil {
		t.Fatal(err)
	}
	send(t, c, pool, "delete 1")
	send(t, c, pool, "delete 2")
}

// device-mapper's own messages answer with text.
func TestMessageAnswers(t *testing.T) {
	c := open(t)
	a := name(t, c, "a")
	activate(t, c, a, dm.Target{Length: 8, Type: "zero"})
	if id, err := c.Message(a, 0, "@stats_create - /1"); err != nil || id != "0" {
		t.Fatalf("%q, %v", id, err)
	}
	if list, err := c.Message(a, 0, "@stats_list"); err != nil || strings.TrimSpace(list) != "0: 0+8 8 - -" {
		t.Errorf("%q, %v", list, err)
	}
	if _, err := c.Message(a, 0, "@nonsense"); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

// A pool that is read-only takes no message, and the error says so.
func TestMessageToReadOnlyPool(t *testing.T) {
	c := open(t)
	meta, data := disk(t, 4), disk(t, 16)
	pool := name(t, c, "pool")
	target := dm.Target{Length: 16 * sectorsPerMiB, Type: "thin-pool", Params: fmt.Sprintf("%s %s %d 0", meta, data, poolBlock)}
	activate(t, c, pool, target)
	if err := c.Remove(pool); err != nil {
		t.Fatal(err)
	}
	target.Params += " 1 read_only"
	activate(t, c, pool, target)
	if _, err := c.Message(pool, 0, "create_thin 1"); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "read-only or failed") {
		t.Error(err)
	}
}

// A pool that falls below its low-water mark has an event, and Wait returns;
// events that came before the call are not waited for.
func TestWaitLowWater(t *testing.T) {
	c := open(t)
	pool := pool(t, c, 200) // of 256 blocks
	_, path := thin(t, c, pool, 1)
	before, err := c.Stat(pool)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	type result struct {
		info dm.Info
		err  error
	}
	waited := make(chan result, 1)
	go func() {
		info, err := c.Wait(ctx, pool, before.Event)
		waited <- result{info, err}
	}()
	other := name(t, c, "other") // its events are none of the pool's
	activate(t, c, other, dm.Target{Length: 8, Type: "zero"})
	select {
	case r := <-waited:
		t.Fatalf("woken by another device: %+v, %v", r.info, r.err)
	case <-time.After(200 * time.Millisecond):
	}
	write(t, path, 4, 'x')
	r := <-waited
	if r.err != nil || r.info.Event == before.Event {
		t.Fatalf("event %d, was %d: %v", r.info.Event, before.Event, r.err)
	}
	if info, err := c.Wait(ctx, pool, before.Event); err != nil || info.Event == before.Event {
		t.Errorf("a second time: %+v, %v", info, err)
	}
}

// Wait ends with its context, and when the device goes.
func TestWaitEnds(t *testing.T) {
	c := open(t)
	a := name(t, c, "a")
	activate(t, c, a, dm.Target{Length: 8, Type: "zero"})
	info, err := c.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	ends := make(chan error)
	go func() {
		_, err := c.Wait(ctx, a, info.Event)
		ends <- err
	}()
	reason := errors.New("enough")
	time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
	if err := <-ends; !errors.Is(err, reason) {
		t.Error(err)
	}
	go func() {
		_, err := c.Wait(t.Context(), a, info.Event)
		ends <- err
	}()
	time.Sleep(50 * time.Millisecond)
	if err := c.Remove(a); err != nil {
		t.Fatal(err)
	}
	if err := <-ends; !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}
