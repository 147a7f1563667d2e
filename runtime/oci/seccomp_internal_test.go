package oci

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestDropArch: the other architectures stay, in their order.
func TestDropArch(t *testing.T) {
	p := &specs.LinuxSeccomp{Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}}
	dropArch(p, specs.ArchX32)
	if want := []specs.Arch{specs.ArchX86_64, specs.ArchX86}; !slices.Equal(p.Architectures, want) {
		t.Errorf("architectures %v, want %v", p.Architectures, want)
	}
}

// TestKernelLacksX32 compares with the kernel's own word: it executes an x32
// program, or says that it is no program at all.
func TestKernelLacksX32(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		if kernelLacksX32() {
			t.Error("another architecture has nothing to drop")
		}
		return
	}
	if filtered() {
		if kernelLacksX32() {
			t.Error("asked under a filter")
		}
		return
	}
	path := t.TempDir() + "/x32"
	if err := os.WriteFile(path, x32Program(), 0o755); err != nil {
		t.Fatal(err)
	}
	err := exec.CommandContext(t.Context(), path).Run()
	var exit *exec.ExitError
	runs := err == nil || errors.As(err, &exit) // started, however it ended
	if kernelLacksX32() == runs {
		t.Errorf("kernelLacksX32 is %t, and executing an x32 program: %v", kernelLacksX32(), err)
	}
}

// x32Program is the smallest ELF that only an x32 kernel executes: 32-bit, for
// x86-64, one loadable segment, exit(0) at its start.
func x32Program() []byte {
	code := []byte{0x31, 0xff, 0xb8, 60, 0, 0, 0x40, 0x0f, 0x05} // xor edi,edi; mov eax,60|x32; syscall
	const base, head = 0x400000, 52 + 32
	le := func(n int, v uint32) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)}[:n] }
	size := uint32(head + len(code))
	return bytes.Join([][]byte{
		{0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		le(2, 2), le(2, 62), le(4, 1), le(4, base+head), le(4, 52), le(4, 0), le(4, 0),
		le(2, 52), le(2, 32), le(2, 1), le(2, 0), le(2, 0), le(2, 0),
		le(4, 1), le(4, 0), le(4, base), le(4, base), le(4, size), le(4, size), le(4, 5), le(4, 0x1000), // PT_LOAD, r-x
		code,
	}, nil)
}
