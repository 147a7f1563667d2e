package volume_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/runtime/volume"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// targets are where pods want the volume.
func targets(t *testing.T) (one, two string) {
	t.Helper()
	dir := t.TempDir()
	one, two = filepath.Join(dir, "one"), filepath.Join(dir, "two")
	t.Cleanup(func() {
		_ = unix.Unmount(one, unix.MNT_DETACH)
		_ = unix.Unmount(two, unix.MNT_DETACH)
	})
	return one, two
}

// TestPublishCallsWhatTheDriverHas: with and without attaching and staging;
// unstaged and detached after the last pod.
func TestPublishCallsWhatTheDriverHas(t *testing.T) {
	needRoot(t)
	d := can(makes, attaches)
	s := open(t, d)
	create(t, s, key, volume.Request{Bytes: 1})
	one, two := targets(t)
	publish := func(uid, target string) {
		t.Helper()
		if _, err := s.Publish(t.Context(), key, uid, target, false); err != nil {
			t.Fatal(err)
		}
	}
	unpublish := func(uid, target string) {
		t.Helper()
		if err := s.Unpublish(t.Context(), key, uid, target); err != nil {
			t.Fatal(err)
		}
	}
	d.calls = nil
	publish("uid-1", one)
	d.asked(t, "attach node", "publish one sdx")
	unpublish("uid-1", one)
	d.asked(t, "unpublish one", "detach node")
	unpublish("uid-1", one)
	d.asked(t)

	d = can(makes)
	d.node = append(d.node, stages)
	s = open(t, d)
	create(t, s, key, volume.Request{Bytes: 1})
	d.calls = nil
	publish("uid-1", one)
	publish("uid-2", two)
	d.asked(t, "stage", "publish one  staged", "stage", "publish two  staged")
	if err := s.Remove(t.Context(), key); !errors.Is(err, volume.ErrInUse) {
		t.Errorf("Remove of a volume in use: %v, want ErrInUse", err)
	}
	unpublish("uid-1", one)
	d.asked(t, "unpublish one")
	unpublish("uid-2", two)
	d.asked(t, "unpublish two", "unstage")
	if users, err := s.Users(key); len(users) > 0 || err != nil {
		t.Errorf("users %v, %v; want none", users, err)
	}
}

// TestPublishElsewhere: a driver in another mount namespace says that it is
// done, and the pod would write into the bare folder.
func TestPublishElsewhere(t *testing.T) {
	d := can(makes)
	d.nowhere = true
	s := open(t, d)
	create(t, s, key, volume.Request{Bytes: 1})
	one, _ := targets(t)
	if err := os.Mkdir(one, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := s.Publish(t.Context(), key, "uid-1", one, false)
	says(t, err, "nothing is mounted at", "another mount namespace")
	// What a crash may have left counts as in use until it is unpublished.
	if err := s.Remove(t.Context(), key); !errors.Is(err, volume.ErrInUse) {
		t.Errorf("Remove: %v, want ErrInUse", err)
	}
	if err := s.Unpublish(t.Context(), key, "uid-1", one); err != nil {
		t.Error(err)
	}
	if err := s.Remove(t.Context(), key); err != nil {
		t.Error(err)
	}
}

func TestReadWriteOncePod(t *testing.T) {
	needRoot(t)
	s := open(t, can(makes))
	create(t, s, key, volume.Request{Bytes: 1, AccessModes: []string{"ReadWriteOncePod"}})
	one, two := targets(t)
	for range 2 { // the same pod may, again
		if _, err := s.Publish(t.Context(), key, "uid-1", one, false); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Publish(t.Context(), key, "uid-2", two, false); !errors.Is(err, volume.ErrInUse) {
		t.Errorf("a second pod: %v, want ErrInUse", err)
	}
	for range 2 {
		if err := s.Unpublish(t.Context(), key, "uid-1", one); err != nil {
			t.Error(err)
		}
	}
}

func TestResize(t *testing.T) {
	needRoot(t)
	d := can(makes, expands)
	s := open(t, d)
	create(t, s, key, volume.Request{Bytes: 10})
	_, err := s.Resize(t.Context(), key, 9)
	says(t, err, "cannot shrink")
	d.calls = nil
	if v, err := s.Resize(t.Context(), key, 20); err != nil || v.Capacity != 20 {
		t.Errorf("%+v, %v", v, err)
	}
	d.asked(t, "expand") // nobody has it: the node grows it when it is staged
	one, _ := targets(t)
	if _, err := s.Publish(t.Context(), key, "uid-1", one, false); err != nil {
		t.Fatal(err)
	}
	d.calls = nil
	if _, err := s.Resize(t.Context(), key, 30); err != nil {
		t.Error(err)
	}
	d.asked(t, "expand", "expand on node one")
	if err := s.Unpublish(t.Context(), key, "uid-1", one); err != nil {
		t.Error(err)
	}
}
