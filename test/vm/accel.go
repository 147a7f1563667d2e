package vm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// defaultKVM is how long a boot with KVM may take before it is given up: where
// KVM works, one takes two or three seconds.
const defaultKVM = 20 * time.Second

// kvmDevice is what KVM is asked for by.
var kvmDevice = "/dev/kvm"

// tryAccelerators boots with the accelerator asked for. With AccelAuto that is
// KVM once, and emulation where KVM does not lead to a running guest (there
// are machines that accept the guest and never run it); that is remembered.
func (m *Machine) tryAccelerators(ctx context.Context) (*session, error) {
	accel := m.options.Accel
	if accel == AccelAuto {
		accel = AccelTCG
		if reason := m.withoutKVM(); reason == "" {
			session, err := m.startWithin(ctx, AccelKVM, m.options.KVMTimeout)
			if err == nil || ctx.Err() != nil {
				return session, err
			}
			m.rememberNoKVM(err)
		}
	}
	return m.startWithin(ctx, accel, m.options.BootTimeout)
}

func (m *Machine) startWithin(ctx context.Context, accel string, timeout time.Duration) (*session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer from the guest within %v (accel %s)", timeout, accel))
	defer cancel()
	return m.start(ctx, accel)
}

// noKVM is the note that KVM leads nowhere on this machine.
func (m *Machine) noKVM() string { return filepath.Join(m.options.Cache, "no-kvm") }

// withoutKVM says why KVM need not be tried, or "".
func (m *Machine) withoutKVM() string {
	if err := unix.Access(kvmDevice, unix.R_OK|unix.W_OK); err != nil {
		return kvmDevice + ": " + err.Error()
	}
	note, err := os.ReadFile(m.noKVM())
	if err != nil {
		return "" // never tried, or the note is lost: it is tried again
	}
	if first, rest, _ := strings.Cut(string(note), "\n"); first == host() {
		return strings.TrimSpace(rest)
	}
	return ""
}

// rememberNoKVM keeps the note for this machine and kernel.
func (m *Machine) rememberNoKVM(err error) {
	first, _, _ := strings.Cut(err.Error(), "\n")
	m.options.Log("KVM does not boot here, so the machine is emulated: " + first)
	if err := os.WriteFile(m.noKVM(), []byte(host()+"\n"+first+"\n"), 0o644); err != nil {
		m.options.Log("that is found out again each time: " + err.Error())
	}
}

// host names this machine's kernel, on which it depends whether KVM works.
func host() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Nodename[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Version[:])
}
