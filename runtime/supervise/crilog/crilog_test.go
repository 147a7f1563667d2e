package crilog

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func write(t *testing.T, w *Writer, stream, text string) {
	t.Helper()
	if err := w.Copy(stream, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) (stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	if err := Read(context.Background(), path, ReadOptions{Stdout: &out, Stderr: &errOut}); err != nil {
		t.Fatal(err)
	}
	return out.String(), errOut.String()
}

func TestFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	w, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", maxLine+5)
	write(t, w, "stdout", "one\n\n"+long+"\nno end")
	write(t, w, "stderr", "two\r\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	want := []string{"stdout F one", "stdout F ", "stdout P " + long[:maxLine], "stdout F " + long[maxLine:], "stdout F no end", "stderr F two\r"}
	stamp := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z `)
	if len(lines) != len(want) {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for i, line := range lines {
		if at := stamp.FindString(line); at == "" || line[len(at):] != want[i] {
			t.Errorf("line %d: %.60q", i, line)
		}
	}
	out, errOut := read(t, path)
	if out != "one\n\n"+long+"\nno end\n" || errOut != "two\r\n" {
		t.Errorf("read back %d bytes and %q", len(out), errOut)
	}
}

// What a crash cut short neither hides the next line nor is shown as one.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte("2026-01-01T00:00:00.000000000Z stdout F whole\n2026-01-01T00:0"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, "stdout", "next\n")
	if out, _ := read(t, path); out != "whole\nnext\n" {
		t.Errorf("read %q", out)
	}
}

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	w, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	w.maxBytes, w.maxFiles = 200, 3
	for i := range 40 {
		write(t, w, "stdout", strings.Repeat(string(rune('a'+i%26)), 20)+"\n")
	}
	old, err := Rotated(path)
	if err != nil || len(old) != 2 {
		t.Fatalf("rotated files %v, %v", old, err)
	}
	out, _ := read(t, path)
	lines := strings.Fields(out)
	// The newest lines are there, in order and without a gap.
	for i, line := range lines {
		if want := byte('a' + (40-len(lines)+i)%26); line[0] != want {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if len(lines) < 6 {
		t.Errorf("only %d lines", len(lines))
	}
}

// A follower sees every line once, through rotations, and ends.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	var ended atomic.Bool
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- Read(context.Background(), path, ReadOptions{
			Stdout: &out, Stderr: &out, Follow: true, Ended: ended.Load,
		})
	}()
	time.Sleep(2 * poll) // it waits for the file
	w, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	w.maxBytes = 500
	want := ""
	for i := range 12 {
		line := strings.Repeat("x", i) + "\n"
		write(t, w, "stdout", line)
		want += line
		time.Sleep(poll / 2)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	ended.Store(true)
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end")
	}
	if out.String() != want {
		t.Errorf("followed %q, want %q", out.String(), want)
	}
}
