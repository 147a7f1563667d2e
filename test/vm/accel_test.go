package vm_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varve-project/varve/test/built"
	"github.com/varve-project/varve/test/vm"
)

// stuckKVM puts an emulator into PATH that never gets anywhere with KVM, as
// there are machines; it returns a file with a line for each try.
func stuckKVM(t *testing.T) string {
	t.Helper()
	emulator, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	tries := filepath.Join(dir, "tries")
	script := fmt.Sprintf("#!/bin/sh\ncase \"$*\" in *'-accel kvm'*) echo try >>%s; exec sleep 1000 ;; esac\nexec %s \"$@\"\n", tries, emulator)
	if err := os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	old := vm.SetKVMDevice("/dev/null")
	t.Cleanup(func() { vm.SetKVMDevice(old) })
	return tries
}

// cacheWithKernel is a cache of its own with the repository's kernel.
func cacheWithKernel(t *testing.T) string {
	t.Helper()
	root, err := built.Root()
	if err != nil {
		t.Fatal(err)
	}
	trees, err := filepath.Glob(filepath.Join(root, "build/vm/linux-image-*"))
	if err != nil || len(trees) == 0 {
		t.Fatalf("no kernel (%v); run: make vm", err)
	}
	dir := t.TempDir()
	if err := os.Symlink(trees[0], filepath.Join(dir, filepath.Base(trees[0]))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func count(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

func TestKVMThatHangs(t *testing.T) {
	tries := stuckKVM(t)
	var said []string
	o := vm.Options{KVMTimeout: time.Second, Cache: cacheWithKernel(t), Log: func(text string) { said = append(said, text) }}
	m := boot(t, o)
	equal(t, "a command", sh(t, m, "echo there"), "there")
	m.Close()
	if len(said) != 1 || !strings.Contains(said[0], "KVM does not boot here") {
		t.Errorf("it said %q", said)
	}
	equal(t, "tries", count(t, tries), 1)

	// The next machine does not try again, and not for long either.
	o.Program, o.BootTimeout = program, 300*time.Millisecond
	_, err := vm.Boot(within(t, limit), o)
	wantMachineError(t, err, vm.ErrNoBoot, "")
	if !strings.Contains(err.Error(), "accel tcg") {
		t.Errorf("the second boot was not an emulation: %v", err)
	}
	equal(t, "tries after the second boot", count(t, tries), 1)

	// Who asks for KVM gets KVM or an error.
	o.Accel = vm.AccelKVM
	_, err = vm.Boot(within(t, limit), o)
	wantMachineError(t, err, vm.ErrNoBoot, "")
	if !strings.Contains(err.Error(), "accel kvm") {
		t.Errorf("KVM was asked for: %v", err)
	}
	equal(t, "tries after KVM was asked for", count(t, tries), 2)
}
