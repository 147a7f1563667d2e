package atomicfile_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varve-project/varve/internal/atomicfile"
)

func TestWriteMakesAndReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	for _, step := range []struct {
		text string
		perm fs.FileMode
	}{{"first, and longer than what follows", 0o600}, {"second", 0o644}, {"", 0o400}} {
		if err := atomicfile.Write(path, []byte(step.text), step.perm); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != step.text {
			t.Fatalf("read %q, %v; want %q", got, err, step.text)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != step.perm {
			t.Fatalf("mode %v, %v; want %v: the umask must not show", info.Mode(), err, step.perm)
		}
	}
	onlyEntry(t, filepath.Dir(path), "record")
}

// A failed Write changes nothing and leaves nothing: the target here is a
// folder that is not empty, which rename(2) refuses.
func TestFailedWriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "record")
	if err := os.MkdirAll(filepath.Join(path, "child"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := atomicfile.Write(path, []byte("x"), 0o600)
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("error %v; want one that names %s", err, path)
	}
	onlyEntry(t, dir, "record")
}

func TestWriteIntoAbsentFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent", "record")
	if err := atomicfile.Write(path, nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("error %v; want fs.ErrNotExist", err)
	}
}

// Readers beside a writer see one whole version, never a part or none.
func TestReadersSeeWholeVersions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	version := func(i int) []byte { return []byte(strings.Repeat(fmt.Sprintf("%07d\n", i), 4096)) }
	if err := atomicfile.Write(path, version(0), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				data, err := os.ReadFile(path)
				if err != nil {
					t.Errorf("read beside a writer: %v", err)
					return
				}
				if want := strings.Repeat(string(data[:min(8, len(data))]), 4096); string(data) != want {
					t.Errorf("read a torn version of %d bytes", len(data))
					return
				}
			}
		})
	}
	for i := range 50 {
		if err := atomicfile.Write(path, version(i), 0o600); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	readers.Wait()
}

const writerEnv = "VARVE_TEST_ATOMICFILE_WRITER"

// TestMain lets the test binary be the writer that TestKilledWriter kills.
func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		for i := 0; ; i++ {
			if err := atomicfile.WriteJSON(path, make([]int, 10000+i%7)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	}
	os.Exit(m.Run())
}

// SIGKILL at whatever moment leaves a record that parses, and Clean takes
// away what else was left.
func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "record")
	for round := range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+path)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, path)
		time.Sleep(time.Duration(round) * 3 * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		var got []int
		if err := atomicfile.ReadJSON(path, &got); err != nil || len(got) < 10000 {
			t.Fatalf("round %d: %d entries, %v", round, len(got), err)
		}
	}
	if err := atomicfile.Clean(dir); err != nil {
		t.Fatal(err)
	}
	onlyEntry(t, dir, "record")
}

func TestJSONRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	type record struct{ Name string }
	if err := atomicfile.WriteJSON(path, record{"a"}); err != nil {
		t.Fatal(err)
	}
	var got record
	if err := atomicfile.ReadJSON(path, &got); err != nil || got.Name != "a" {
		t.Fatalf("read %+v, %v", got, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if err := atomicfile.WriteJSON(path, make(chan int)); err == nil {
		t.Fatal("a value without a JSON form was written")
	}
	if err := atomicfile.ReadJSON(path, &got); err != nil || got.Name != "a" {
		t.Fatalf("the failed write changed the record: %+v, %v", got, err)
	}
}

func TestReadJSONErrors(t *testing.T) {
	dir := t.TempDir()
	var v any
	if err := atomicfile.ReadJSON(filepath.Join(dir, "absent"), &v); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v; want fs.ErrNotExist", err)
	}
	torn := filepath.Join(dir, "torn")
	if err := os.WriteFile(torn, []byte(`{"a":`), 0o600); err != nil {
		t.Fatal(err)
	}
	err := atomicfile.ReadJSON(torn, &v)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) || !strings.Contains(err.Error(), torn) {
		t.Errorf("torn: %v; want a syntax error that names the file", err)
	}
}

func TestRemoveIsIdempotent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "record")
	if err := atomicfile.Write(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := atomicfile.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := atomicfile.Remove(filepath.Join(dir, "absent", "record")); err != nil {
		t.Fatalf("a record in a folder that is gone: %v", err)
	}
	onlyEntry(t, dir)
}

// Clean takes temporary files only, also in a folder whose name a shell
// pattern would not match.
func TestClean(t *testing.T) {
	for _, name := range []string{"plain", "odd [name] *?\\"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{".tmp-1", ".tmp-2", "record", ".hidden"} {
			if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := atomicfile.Clean(dir); err != nil {
			t.Fatal(err)
		}
		onlyEntry(t, dir, ".hidden", "record")
	}
	if err := atomicfile.Clean(filepath.Join(t.TempDir(), "absent")); err != nil {
		t.Errorf("an absent folder: %v", err)
	}
}

func onlyEntry(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Fatalf("%s holds %q, want %q", dir, got, want)
	}
}

func waitFor(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
	t.Fatalf("%s did not appear in 10 s", path)
}
