package guest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/test/vm/wire"
)

const cgroupDir = "/sys/fs/cgroup"

// cgroups mounts the hierarchies as the init of a distribution does.
func cgroups(setup wire.Setup) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if setup.Cgroup == "v1" {
		return cgroupsV1(flags)
	}
	if err := (mount{"cgroup2", cgroupDir, "cgroup2", flags, "nsdelegate,memory_recursiveprot"}).do(); err != nil {
		return err
	}
	controllers, err := os.ReadFile(cgroupDir + "/cgroup.controllers")
	if err != nil {
		return err
	}
	enable := "+" + strings.Join(strings.Fields(string(controllers)), " +")
	if err := os.WriteFile(cgroupDir+"/cgroup.subtree_control", []byte(enable), 0); err != nil {
		return fmt.Errorf("enabling the controllers %s: %w", enable, err)
	}
	return nil
}

// cgroupsV1 mounts one hierarchy for each controller of the kernel.
func cgroupsV1(flags uintptr) error {
	if err := (mount{"tmpfs", cgroupDir, "tmpfs", flags, "mode=0755"}).do(); err != nil {
		return err
	}
	table, err := os.ReadFile("/proc/cgroups")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(table) {
		fields := strings.Fields(string(line))
		if len(fields) < 4 || strings.HasPrefix(fields[0], "#") || fields[3] != "1" {
			continue
		}
		if err := (mount{"cgroup", cgroupDir + "/" + fields[0], "cgroup", flags, fields[0]}).do(); err != nil {
			return err
		}
	}
	return (mount{"cgroup", cgroupDir + "/systemd", "cgroup", flags, "none,name=systemd"}).do()
}

// loopback brings lo up.
func loopback(wire.Setup) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer unix.Close(fd)
	ifreq, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifreq.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifreq); err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	return nil
}

// services starts udevd where it is asked for, and lets it see the disks; all
// other devices would take a quarter of a minute under emulation.
func services(setup wire.Setup) error {
	if err := os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
		return err
	}
	if !setup.Udev {
		return nil
	}
	for _, args := range [][]string{
		{"/lib/systemd/systemd-udevd", "--daemon"},
		{"udevadm", "trigger", "--action=add", "--subsystem-match=block"},
		{"udevadm", "settle", fmt.Sprintf("--timeout=%.0f", settleTime.Seconds())},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("udev: %s: %w: %s; is the package udev installed?", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
	}
	return nil
}
