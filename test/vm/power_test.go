package vm_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/varve-project/varve/test/vm"
)

// TestPower is one machine's life: cut, rebooted, panicked, hung.
func TestPower(t *testing.T) {
	m := boot(t, vm.Options{Disks: []vm.Disk{{Size: 64 << 20}, {Size: 32 << 20}}})
	sh(t, m, "mkfs.ext4 -q /dev/vda; mount -o commit=300 /dev/vda /mnt; sync")
	sh(t, m, "printf kept | dd of=/mnt/kept conv=fsync status=none; printf lost >/mnt/lost; echo gone >/etc/gone")
	m.PowerCut()
	m.PowerCut() // twice is once
	if _, err := m.Run(within(t, limit), vm.Cmd{Args: []string{"true"}}); !errors.Is(err, vm.ErrOff) {
		t.Errorf("a command without power: %v", err)
	}
	reboot(t, m)
	sh(t, m, "mount /dev/vda /mnt")
	equal(t, "what was fsynced", sh(t, m, "cat /mnt/kept"), "kept")
	equal(t, "what was not", sh(t, m, "cat /mnt/lost 2>/dev/null || true"), "")
	equal(t, "the root's changes", sh(t, m, "cat /etc/gone 2>/dev/null || true"), "")

	sh(t, m, "printf late >/mnt/late; setsid sleep 1000 >/dev/null 2>&1 &")
	reboot(t, m)
	sh(t, m, "mount /dev/vda /mnt")
	equal(t, "what was not fsynced before an orderly reboot", sh(t, m, "cat /mnt/late"), "late")

	_, err := m.Run(within(t, limit), vm.Cmd{Args: []string{"sh", "-c", "echo c >/proc/sysrq-trigger; sleep 100"}})
	wantMachineError(t, err, vm.ErrDied, "Kernel panic")

	reboot(t, m)
	start := time.Now()
	_, err = m.Run(within(t, 5*time.Second), vm.Cmd{Args: []string{"sleep", "1000"}})
	wantMachineError(t, err, vm.ErrTimeout, "Show Blocked State")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the cause is not the deadline: %v", err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("a hung command held its caller for %v", took)
	}
	m.Close()
	m.Close()
}

func reboot(t *testing.T, m *vm.Machine) {
	t.Helper()
	if err := m.Reboot(within(t, limit)); err != nil {
		t.Fatal(err)
	}
}

func wantMachineError(t *testing.T, err, want error, console string) {
	t.Helper()
	var failure *vm.MachineError
	if !errors.As(err, &failure) || !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	if !strings.Contains(failure.Console, console) {
		t.Errorf("%q is not on the console:\n%s", console, failure.Console)
	}
}

func TestNoBoot(t *testing.T) {
	// Half a second is not enough for any accelerator.
	_, err := vm.Boot(within(t, limit), vm.Options{Program: program, Accel: vm.AccelTCG, BootTimeout: 500 * time.Millisecond})
	wantMachineError(t, err, vm.ErrNoBoot, "")
}

func TestRefusals(t *testing.T) {
	for text, o := range map[string]vm.Options{
		"memory":       {Memory: 1 << 20},
		"cpus":         {CPUs: -1},
		`cgroup "v3"`:  {Cgroup: "v3"},
		`accel "hvf"`:  {Accel: "hvf"},
		"no-such-dir":  {Shares: []string{"/no-such-dir"}},
		"not a folder": {Shares: []string{"/etc/passwd"}},
		"a disk of 7":  {Disks: []vm.Disk{{Size: 7}}},
		"tmp 7 bytes":  {Tmp: 7},
		"21 disks":     {Disks: make([]vm.Disk, 21)},
	} {
		o.Program = program
		if _, err := vm.Boot(within(t, limit), o); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
