package flock_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/varve-project/varve/internal/flock"
)

const holderEnv = "VARVE_TEST_FLOCK_HOLDER"

// TestMain lets the test binary be another process that holds a lock: it
// prints a line when it has it, and keeps it until it is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv(holderEnv); path != "" {
		take := flock.Acquire
		if os.Getenv(holderEnv+"_SHARED") != "" {
			take = flock.AcquireShared
		}
		lock, err := take(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("held")
		time.Sleep(time.Minute)
		_ = lock.Release()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// holder starts another process that holds path, and returns what kills it.
func holder(t *testing.T, path string, env ...string) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), holderEnv+"="+path), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("holder said %q, %v", line, err)
	}
	return kill
}

func TestKilledHolderLetsGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	kill := holder(t, path)
	if _, err := flock.Try(path); !errors.Is(err, flock.ErrHeld) {
		t.Fatalf("Try beside a holder: %v; want ErrHeld", err)
	}
	got := make(chan error, 1)
	go func() {
		lock, err := flock.Acquire(path)
		if err == nil {
			err = lock.Release()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("Acquire beside a holder returned: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	kill()
	if err := <-got; err != nil {
		t.Fatalf("Acquire after the holder was killed: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the lock file must stay: %v", err)
	}
}

func TestSharersExcludeOwners(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	kill := holder(t, path, holderEnv+"_SHARED=1")
	shared, err := flock.AcquireShared(path)
	if err != nil {
		t.Fatalf("a second sharer: %v", err)
	}
	kill()
	if _, err := flock.Try(path); !errors.Is(err, flock.ErrHeld) {
		t.Fatalf("Try beside a sharer: %v; want ErrHeld", err)
	}
	if err := shared.Release(); err != nil {
		t.Fatal(err)
	}
	owner, err := flock.Try(path)
	if err != nil {
		t.Fatalf("Try after the last sharer: %v", err)
	}
	if err := owner.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestAcquireContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := flock.Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	_, err = flock.AcquireContext(ctx, path)
	if !errors.Is(err, flock.ErrHeld) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v; want ErrHeld and DeadlineExceeded", err)
	}
	time.AfterFunc(30*time.Millisecond, func() { _ = first.Release() })
	second, err := flock.AcquireContext(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	if second.File().Name() != path {
		t.Errorf("locked file %s, want %s", second.File().Name(), path)
	}
	if err := second.Release(); err != nil {
		t.Fatal(err)
	}
}

// A child of the holder must not inherit the lock: a long-lived one (the
// supervisor of a pod) would hold it for ever.
func TestChildDoesNotInherit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := flock.Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := flock.Try(path)
	if err != nil {
		t.Fatalf("Try while a child of the last holder lives: %v", err)
	}
	if err := again.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestAbsentFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent", "lock")
	for name, take := range map[string]func(string) (*flock.Lock, error){
		"Acquire": flock.Acquire, "AcquireShared": flock.AcquireShared, "Try": flock.Try,
		"AcquireContext": func(p string) (*flock.Lock, error) { return flock.AcquireContext(t.Context(), p) },
	} {
		if _, err := take(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v; want fs.ErrNotExist", name, err)
		}
	}
}
