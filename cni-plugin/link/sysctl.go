package link

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// SetSysctl writes value to /proc/sys/NAME unless it is there already, in the
// network namespace of the calling thread.
func SetSysctl(name, value string) error {
	path := "/proc/sys/" + name
	have, err := os.ReadFile(path)
	if err == nil && string(bytes.TrimSpace(have)) == value {
		return nil
	}
	if err == nil {
		err = os.WriteFile(path, []byte(value), 0)
	}
	if err != nil {
		return fmt.Errorf("set sysctl %s to %s: %w", name, value, err)
	}
	return nil
}

// hasIPv6 tells whether the kernel was booted with IPv6 at all.
func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// EnableForwarding4 lets the host route between its links.
func EnableForwarding4() error { return SetSysctl("net/ipv4/ip_forward", "1") }

// EnableForwarding6 lets the host route IPv6. A forwarding host ignores router
// advertisements unless told otherwise, and would lose the default route that
// it has from one: links that accept them now go on doing so.
func EnableForwarding6() error {
	if !hasIPv6() {
		return fmt.Errorf("the kernel has no IPv6: remove the IPv6 range, or boot without ipv6.disable=1")
	}
	const forwarding = "net/ipv6/conf/all/forwarding"
	have, err := os.ReadFile("/proc/sys/" + forwarding)
	if err == nil && string(bytes.TrimSpace(have)) == "1" {
		return nil
	}
	entries, err := os.ReadDir("/proc/sys/net/ipv6/conf")
	if err != nil {
		return fmt.Errorf("enable IPv6 forwarding: %w", err)
	}
	for _, e := range entries {
		name := "net/ipv6/conf/" + e.Name() + "/accept_ra"
		ra, err := os.ReadFile("/proc/sys/" + name)
		if err != nil || string(bytes.TrimSpace(ra)) != "1" || e.Name() == "all" || e.Name() == "default" {
			continue
		}
		// A link may vanish under our hands; then it needs nothing.
		if err := SetSysctl(name, "2"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return SetSysctl(forwarding, "1")
}
