package oci

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	ctrdoci "github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// defaultSeccomp sets containerd's default profile, which depends on the
// capabilities, less the architecture that this kernel cannot run.
//
// What libseccomp makes of the profile takes a quarter of a container's
// start, and half of that is x32: its rules are a third table to sort and to
// jump through, for an ABI that hardly any kernel is built with. Without the
// ABI such a call can only fail. It then fails harder: what is of no
// architecture in the profile ends the calling thread (libseccomp's
// SCMP_FLTATR_ACT_BADARCH, which the OCI spec has no field for), where it was
// EPERM or ENOSYS. No program calls x32 but one built for it, and the kernel
// refuses to execute that one.
func defaultSeccomp(ctx context.Context, client ctrdoci.Client, cc *containers.Container, s *specs.Spec) error {
	if err := seccomp.WithDefaultProfile()(ctx, client, cc, s); err != nil {
		return err
	}
	if kernelLacksX32() {
		dropArch(s.Linux.Seccomp, specs.ArchX32)
	}
	return nil
}

func dropArch(profile *specs.LinuxSeccomp, arch specs.Arch) {
	profile.Architectures = slices.DeleteFunc(profile.Architectures, func(a specs.Arch) bool { return a == arch })
}

// x32Bit marks the number of an x32 call (asm/unistd.h, __X32_SYSCALL_BIT).
const x32Bit = 0x40000000

// kernelLacksX32 is true only when that is certain. It asks by a call. A
// filter over this very process could kill the thread for it, so nothing is
// asked under one.
var kernelLacksX32 = sync.OnceValue(func() bool {
	if runtime.GOARCH != "amd64" || filtered() {
		return false
	}
	_, _, errno := unix.RawSyscall(x32Bit|unix.SYS_GETPID, 0, 0, 0)
	return errors.Is(errno, unix.ENOSYS)
})

// filtered tells whether this thread may be under a seccomp filter.
func filtered() bool {
	status, err := os.ReadFile("/proc/thread-self/status")
	return err != nil || !bytes.Contains(status, []byte("\nSeccomp:\t0\n"))
}
