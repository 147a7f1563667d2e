package vm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// vmRun runs the command as a person does.
func vmRun(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(within(t, limit), program, append([]string{"run"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	script := fmt.Sprintf("echo out; echo err >&2; stat -fc %%T /sys/fs/cgroup; test -e /run/udev/control; cat /sys/block/vdb/size; stat -fc %%T /tmp; echo x >%s/x; exit 3", dir)
	out, errs, code := vmRun(t, "--memory", "1G", "--disk=1M", "--disk", "2M", "--cgroup=v1", "--udev", "--tmp=64M", "--share", dir, "--", "sh", "-euc", script)
	equal(t, "exit status", code, 3)
	equal(t, "standard output", out, "out\ntmpfs\n4096\next2/ext3\n")
	if !strings.HasSuffix(errs, "err\n") {
		t.Errorf("standard error %q", errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); err != nil {
		t.Error(err)
	}
}

// TestGoTest runs a test package in a machine as the documentation says, with
// its coverage.
func TestGoTest(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "cover.out")
	cmd := exec.CommandContext(within(t, limit), "go", "test", "-json", "-count=1", "-run=Frames", "-coverprofile="+profile,
		"-exec="+program+" run --memory 1G --", "./wire")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), `"Action":"pass"`) || !strings.Contains(string(out), `"Test":"TestFrames"`) {
		t.Errorf("the stream has no test that passed:\n%s", out)
	}
	text, err := os.ReadFile(profile)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "test/vm/wire/wire.go") || !strings.Contains(string(text), " 1\n") {
		t.Errorf("the profile covers nothing:\n%s", text)
	}
}

func TestCommandRefuses(t *testing.T) {
	for text, args := range map[string][]string{
		"no command after the flags":      {"--disk", "1G", "--"},
		`size "7x"`:                       {"--disk", "7x", "--", "true"},
		`size "0"`:                        {"--memory", "0", "--", "true"},
		"flag provided but not defined":   {"--dsik", "1G", "--", "true"},
		`accel "hvf": auto, kvm or tcg`:   {"--accel", "hvf", "--", "true"},
		"share /no-such: ":                {"--share", "/no-such", "--", "true"},
		"no answer from the guest within": {"--accel=tcg", "--boot-timeout=100ms", "--", "true"},
	} {
		_, errs, code := vmRun(t, args...)
		if code != 125 || !strings.Contains(errs, text) {
			t.Errorf("%v: exit status %d, want 125 and %q:\n%s", args, code, text, errs)
		}
	}
}

// TestCommandKilled: however it ends, its emulator ends, and no disk stays.
func TestCommandKilled(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := exec.Command(program, "run", "--accel=tcg", "--disk=1G", "--", "sleep", "1000")
			var errs bytes.Buffer
			cmd.Stderr = &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			emulator := child(t, cmd.Process.Pid)
			if named := disks(t, emulator); len(named) == 0 || slices.ContainsFunc(named, exists) {
				t.Errorf("the emulator's disks are %q; they should have no name any more", named)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if sig != syscall.SIGKILL && (cmd.ProcessState.ExitCode() != 125 || !strings.Contains(errs.String(), "signal: "+sig.String())) {
				t.Errorf("exit status %d:\n%s", cmd.ProcessState.ExitCode(), errs.String())
			}
			for end := time.Now().Add(20 * time.Second); runs(emulator); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("the emulator, process %d, still runs", emulator)
				}
			}
		})
	}
}

// child waits for a process's child that is the emulator.
func child(t *testing.T, pid int) int {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			var found int
			if n, _ := fmt.Sscan(string(text), &found); err == nil && n == 1 && runs(found) && len(disks(t, found)) > 0 {
				return found
			}
		}
	}
	t.Fatalf("process %d starts no emulator", pid)
	return 0
}

// runs says whether a process is an emulator and no zombie.
func runs(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.Contains(text, []byte("qemu-system"))
}

// disks lists the files that a process has open as disks.
func disks(t *testing.T, pid int) []string {
	t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.Contains(target, "varve-vm-disk-") {
			found = append(found, target)
		}
	}
	return found
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestInputGoesOn: a command that reads gets what is typed, while it runs.
func TestInputGoesOn(t *testing.T) {
	m := machine(t)
	reader, writer := io.Pipe()
	lines := make(chan string, 10)
	done := make(chan error, 1)
	go func() {
		_, err := m.Run(within(t, limit), catCommand(reader, lines))
		done <- err
	}()
	for _, line := range []string{"one\n", "two\n"} {
		if _, err := io.WriteString(writer, line); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-lines:
			equal(t, "echo", got, line)
		case err := <-done:
			t.Fatalf("it ended: %v", err)
		}
	}
	_ = writer.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
