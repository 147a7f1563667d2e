package ipam_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/internal/flock"
)

func open(t *testing.T, dir, boot string) *ipam.Store {
	t.Helper()
	s, err := ipam.Open(dir, "net", boot)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(t *testing.T, subnet string) ipam.RangeSet {
	t.Helper()
	r, err := ipam.NewRange(netip.MustParsePrefix(subnet), netip.Addr{}, netip.Addr{}, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	return ipam.RangeSet{r}
}

func key(id string) ipam.Key { return ipam.Key{Network: "net", ContainerID: id, IfName: "eth0"} }

func lease(s *ipam.Store, id string) *ipam.Lease {
	return &ipam.Lease{Version: 1, Key: key(id), State: ipam.Adding, Boot: s.Boot(), Stamp: s.Now()}
}

// take leases one address out of each set under the key's lock.
func take(s *ipam.Store, id string, req ipam.Request) (string, error) {
	lock, err := s.Lock(key(id))
	if err != nil {
		return "", err
	}
	defer lock.Release() //nolint:errcheck // closing drops it
	l := lease(s, id)
	if err := s.Allocate(l, req); err != nil {
		return "", err
	}
	return l.Addresses[0].Prefix.Addr().String(), nil
}

func want(t *testing.T, s *ipam.Store, id string, req ipam.Request, addr string) {
	t.Helper()
	if got, err := take(s, id, req); err != nil || got != addr {
		t.Errorf("%s got %s (%v), want %s", id, got, err, addr)
	}
}

func TestFreedAddressesRestOldestFirst(t *testing.T) {
	s := open(t, t.TempDir(), "boot")
	now := int64(time.Hour)
	s.Now = func() int64 { return now }
	req := ipam.Request{Sets: []ipam.RangeSet{set(t, "10.0.0.0/29")}, Rest: time.Minute}
	for i, id := range []string{"a", "b", "c"} {
		want(t, s, id, req, fmt.Sprintf("10.0.0.%d", i+2))
	}
	for _, id := range []string{"b", "a"} {
		now += int64(time.Second)
		if err := s.Release(key(id)); err != nil {
			t.Fatal(err)
		}
	}
	// Nothing has rested long enough: fresh ones first.
	want(t, s, "d", req, "10.0.0.5")
	want(t, s, "e", req, "10.0.0.6")
	_, err := take(s, "f", req)
	var full *ipam.ExhaustedError
	if !errors.As(err, &full) || full.Leased != 3 || full.Resting != 2 || full.Next != time.Minute-time.Second {
		t.Fatalf("%+v", err)
	}
	now += int64(time.Minute)
	want(t, s, "f", req, "10.0.0.3") // freed first
	want(t, s, "g", req, "10.0.0.2")
}

func TestAllocationDoesNotDependOnTheSizeOfTheRange(t *testing.T) {
	s := open(t, t.TempDir(), "boot")
	req := ipam.Request{Sets: []ipam.RangeSet{set(t, "10.0.0.0/8"), set(t, "fd00::/16")}}
	for i := range 50 {
		if _, err := take(s, fmt.Sprint(i), req); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		if err := s.Release(key(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	index, err := os.ReadFile(index(s))
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(index), "\n"); lines > 2+2+100 {
		t.Errorf("the index of 50 leases has %d lines", lines)
	}
	want(t, s, "next", req, "10.0.0.2")
}

func index(s *ipam.Store) string { return filepath.Join(ipam.Dir(s), "index") }

// The index is a derivative: lost, torn or of another boot it is rebuilt, and
// no address is given twice.
func TestLostIndexIsRebuilt(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"removed": os.Remove,
		"zeroed":  func(p string) error { return os.WriteFile(p, make([]byte, 64), 0o600) },
		"cut": func(p string) error {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			return os.WriteFile(p, data[:len(data)-20], 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), "boot")
			req := ipam.Request{Sets: []ipam.RangeSet{set(t, "10.0.0.0/24")}}
			want(t, s, "a", req, "10.0.0.2")
			want(t, s, "b", req, "10.0.0.3")
			if err := s.Release(key("a")); err != nil {
				t.Fatal(err)
			}
			if err := damage(index(s)); err != nil {
				t.Fatal(err)
			}
			want(t, s, "c", req, "10.0.0.2")
			want(t, s, "d", req, "10.0.0.4")
		})
	}
}

func TestNewBootFreesEverything(t *testing.T) {
	dir := t.TempDir()
	req := ipam.Request{Sets: []ipam.RangeSet{set(t, "10.0.0.0/30")}, Rest: time.Hour}
	want(t, open(t, dir, "one"), "a", req, "10.0.0.2")
	s := open(t, dir, "two")
	want(t, s, "b", req, "10.0.0.2")
	l, err := s.Get(key("a"))
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.Judge(l, nil); err != nil || v.Alive || !strings.Contains(v.Reason, "boot one") {
		t.Errorf("%+v %v", v, err)
	}
	// Its late release must not free what another holds by now.
	if err := s.Release(key("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := take(s, "c", req); err == nil {
		t.Error("two hold one address")
	}
}

func TestUnreadableLeaseOfThisBootStopsARebuild(t *testing.T) {
	s := open(t, t.TempDir(), "boot")
	req := ipam.Request{Sets: []ipam.RangeSet{set(t, "10.0.0.0/24")}}
	want(t, s, "a", req, "10.0.0.2")
	file := filepath.Join(ipam.Dir(s), "leases", "a@eth0")
	if err := os.WriteFile(file, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, s, "b", req, "10.0.0.3") // the index still knows
	if err := os.Remove(index(s)); err != nil {
		t.Fatal(err)
	}
	if _, err := take(s, "c", req); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("addresses that nobody knows were given away: %v", err)
	}
}

func TestWithheldAddressIsFoundAndFreed(t *testing.T) {
	s := open(t, t.TempDir(), "boot")
	req := ipam.Request{Sets: []ipam.RangeSet{set(t, "10.0.0.0/30")}}
	want(t, s, "a", req, "10.0.0.2")
	// As a process leaves it that is killed between index and lease.
	if err := os.Remove(filepath.Join(ipam.Dir(s), "leases", "a@eth0")); err != nil {
		t.Fatal(err)
	}
	lock, err := s.Lock(key("a"))
	if err != nil {
		t.Fatal(err)
	}
	if held, err := s.Withheld(true); err != nil || len(held) != 0 {
		t.Errorf("freed under the eyes of its owner: %v %v", held, err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if held, err := s.Withheld(true); err != nil || len(held) != 1 {
		t.Errorf("%v %v", held, err)
	}
	want(t, s, "b", req, "10.0.0.2")
}

func TestTombstone(t *testing.T) {
	s := open(t, t.TempDir(), "boot")
	now := int64(time.Hour)
	s.Now = func() int64 { return now }
	if err := s.Bury(key("a"), 100); err != nil {
		t.Fatal(err)
	}
	for stamp, buried := range map[int64]bool{99: true, 100: false, 101: false} {
		if got, err := s.Buried(key("a"), stamp); err != nil || got != buried {
			t.Errorf("stamp %d: %v %v", stamp, got, err)
		}
	}
	if got, _ := s.Buried(key("b"), 1); got {
		t.Error("another key is buried with it")
	}
	now += int64(3 * ipam.TombstoneAge)
	if err := s.Bury(key("c"), now); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(ipam.Dir(s), "gone"))
	if err != nil || len(entries) != 1 {
		t.Errorf("old tombstones stay: %v %v", entries, err)
	}
}

func TestKeyLockLeavesNoFileAndAdmitsOne(t *testing.T) {
	s := open(t, t.TempDir(), "boot")
	inside, most := 0, 0
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range 50 {
		wg.Go(func() {
			lock, err := s.Lock(key("a"))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			inside++
			most = max(most, inside)
			mu.Unlock()
			if _, err := s.TryLock(key("a")); !errors.Is(err, flock.ErrHeld) {
				t.Errorf("a second holder: %v", err)
			}
			mu.Lock()
			inside--
			mu.Unlock()
			if err := lock.Release(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most != 1 {
		t.Errorf("%d at once", most)
	}
	if left, _ := os.ReadDir(filepath.Join(ipam.Dir(s), "locks")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestLongContainerID(t *testing.T) {
	s := open(t, t.TempDir(), "boot")
	req := ipam.Request{Sets: []ipam.RangeSet{set(t, "10.0.0.0/24")}}
	want(t, s, strings.Repeat("a", 4000), req, "10.0.0.2")
	want(t, s, strings.Repeat("a", 4001), req, "10.0.0.3")
}

// A stated number of fsyncs: two for an allocation, none for a release.
func TestSyncs(t *testing.T) {
	if os.Getenv("VARVE_TEST_SYNCS") != "" {
		s := open(t, t.TempDir(), "boot")
		want(t, s, "a", ipam.Request{Sets: []ipam.RangeSet{set(t, "10.0.0.0/24")}}, "10.0.0.2")
		if err := s.Release(key("a")); err != nil {
			t.Fatal(err)
		}
		return
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is missing, which counts the system calls: apt-get install strace")
	}
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command(strace, "-f", "-o", log, "-e", "trace=fsync,fdatasync,sync,syncfs", os.Args[0], "-test.run", "^TestSyncs$")
	cmd.Env = append(os.Environ(), "VARVE_TEST_SYNCS=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), "sync("); n != 2 {
		t.Errorf("%d syncs:\n%s", n, data)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte("varve-index 1 boot\nfresh 10.0.0.1-10.0.0.254 10.0.0.2\nleased 10.0.0.2 a@eth0\nresting 10.0.0.3 5\nend\n"))
	f.Add([]byte("varve-index 1 \nend\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		again, err := ipam.Reencode(data)
		if err != nil {
			return
		}
		if twice, err := ipam.Reencode(again); err != nil || string(twice) != string(again) {
			t.Errorf("%q becomes %q, then %q (%v)", data, again, twice, err)
		}
	})
}
