package pod

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/runtime/config"
)

func newStore(t *testing.T) (*Store, config.Config) {
	c := config.Default()
	c.Root, c.State = t.TempDir(), t.TempDir()
	return NewStore(c), c
}

func record(name, uid string, c config.Config) *Record {
	return &Record{
		Key: Key{"default", name}, UID: uid, Created: time.Now().UTC(), Config: c,
		Pod: &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}},
	}
}

func TestCreateGetDelete(t *testing.T) {
	s, c := newStore(t)
	r := record("a", "1", c)
	if err := s.Create(r); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(record("a", "2", c)); !errors.Is(err, ErrExists) {
		t.Errorf("a second one: %v", err)
	}
	got, err := s.Get(r.Key)
	if err != nil || got.UID != "1" || got.Pod.Spec.Containers[0].Name != "c" {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := s.SetStatus(r, NewStatus(r, "boot"), false); err != nil {
		t.Fatal(err)
	}
	if st, err := s.Status(r); err != nil || st.Boot != "boot" || st.Container("c") == nil || st.Container("d") != nil {
		t.Errorf("status %+v, %v", st, err)
	}
	for range 2 {
		if err := s.Delete(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Get(r.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("after Delete: %v", err)
	}
	if entries, _ := os.ReadDir(PodsDir(c)); len(entries) != 0 {
		t.Errorf("left %v", entries)
	}
}

// A record that cannot be read does not hide the others, and half-made and
// half-removed folders are no pods.
func TestListAndSweep(t *testing.T) {
	s, c := newStore(t)
	for _, name := range []string{"b", "a"} {
		if err := s.Create(record(name, name, c)); err != nil {
			t.Fatal(err)
		}
	}
	for name, age := range map[string]time.Duration{".new-young": 0, ".new-old": time.Hour, ".gone-x": 0, "default_broken": 0} {
		dir := filepath.Join(PodsDir(c), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, recordFile), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(dir, when, when); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.List()
	if len(all) != 2 || all[0].Name != "a" || err == nil {
		t.Errorf("list %v, %v", all, err)
	}
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{".new-young": true, ".new-old": false, ".gone-x": false, "default_a": true} {
		if _, err := os.Stat(filepath.Join(PodsDir(c), name)); (err == nil) != want {
			t.Errorf("%s: there is %t, want %t", name, err == nil, want)
		}
	}
}

// Goals move forward only.
func TestDesired(t *testing.T) {
	s, c := newStore(t)
	r := record("a", "1", c)
	if err := s.Create(r); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ set, want Goal }{
		{GoalRun, GoalRun}, {GoalStop, GoalStop}, {GoalRun, GoalStop}, {GoalRemove, GoalRemove}, {GoalStop, GoalRemove},
	} {
		if err := s.SetDesired(r, Desired{Goal: step.set}); err != nil {
			t.Fatal(err)
		}
		if d, err := s.Desired(r); err != nil || d.Goal != step.want {
			t.Errorf("after %s: %+v, %v, want %s", step.set, d, err, step.want)
		}
	}
}

// A lock whose file was removed with its pod is held by nobody.
func TestLock(t *testing.T) {
	s, _ := newStore(t)
	k := Key{"default", "a"}
	first, err := s.TryLock(k)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.TryLock(k); !errors.Is(err, ErrLocked) {
		t.Errorf("a second holder: %v", err)
	}
	self, err := FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := first.SetHolder(self); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Holder(k); err != nil || got != self {
		t.Errorf("holder %v, %v", got, err)
	}
	if err := first.Forget(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.lockPath(k)); !os.IsNotExist(err) {
		t.Errorf("the lock file stays: %v", err)
	}
	again, err := s.TryLock(k)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Release(); err != nil {
		t.Fatal(err)
	}
}

// A lock that raced with Forget is on the new file, not on the removed one.
func TestLockRace(t *testing.T) {
	s, _ := newStore(t)
	k := Key{"default", "a"}
	var inside atomic.Int32
	failed := make(chan string, 8)
	for range 8 {
		go func() {
			for range 200 {
				l, err := s.TryLock(k)
				if errors.Is(err, ErrLocked) {
					continue
				}
				if err != nil {
					failed <- err.Error()
					return
				}
				if inside.Add(1) != 1 {
					failed <- "two hold the lock"
				}
				inside.Add(-1)
				if err := l.Forget(); err != nil {
					failed <- err.Error()
				}
			}
			failed <- ""
		}()
	}
	for range 8 {
		if text := <-failed; text != "" {
			t.Fatal(text)
		}
	}
}

func TestProcess(t *testing.T) {
	self, err := FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := ParseProcess(self.String() + "\n"); err != nil || p != self {
		t.Errorf("%v, %v", p, err)
	}
	other := self
	other.StartTicks++ // as if the pid had been used again
	if _, err := other.Open(); !errors.Is(err, ErrNoProcess) {
		t.Errorf("opened another process: %v", err)
	}
	if err := other.Signal(9); !errors.Is(err, ErrNoProcess) {
		t.Errorf("signalled another process: %v", err)
	}
}

func TestKey(t *testing.T) {
	for in, want := range map[string]Key{"a": {"default", "a"}, "n/a.b": {"n", "a.b"}} {
		k, err := ParseKey(in)
		if err != nil || k != want || k.String() != in {
			t.Errorf("%q: %+v, %v", in, k, err)
		}
		if back, ok := parseFileName(k.FileName()); !ok || back != k {
			t.Errorf("%q: file name %q", in, k.FileName())
		}
	}
	for _, in := range []string{"", "A", "a/b/c", "../x", "a/", "/a", "a_b"} {
		if _, err := ParseKey(in); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
}

func TestJournal(t *testing.T) {
	s, c := newStore(t)
	r := record("a", "1", c)
	if err := s.Create(r); err != nil {
		t.Fatal(err)
	}
	var heard []Entry
	j, err := s.OpenJournal(r, func(e Entry) { heard = append(heard, e) })
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	if err := j.Begin("network", "varve")(boom); !errors.Is(err, boom) {
		t.Errorf("end returned %v", err)
	}
	j.Note("exit", "c", "status %d", 1)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(s.Paths(r).Journal(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"phase":"cut sh`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := s.ReadJournal(r)
	if err != nil || len(got) != 3 || len(heard) != 3 || got[1].Error != "boom" || got[2].Text != "status 1" {
		t.Errorf("read %+v, heard %+v, %v", got, heard, err)
	}
}
