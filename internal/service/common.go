package service

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/containerd/log"
)

// MaxAddress is the longest path in bytes that a unix socket can have:
// sun_path holds 108 with the closing zero (unix(7)).
const MaxAddress = 107

// DefaultCommon is the shipped Common of the daemon NAME. Main fills with it
// whatever Spec.Default leaves empty.
func DefaultCommon(name string) Common {
	return Common{
		Root:         filepath.Join("/var/lib/varve", name),
		Address:      filepath.Join("/run/varve", name+".sock"),
		LogLevel:     "info",
		LogFormat:    "text",
		DrainTimeout: Duration(30 * time.Second),
	}
}

// fill sets what is empty to the shipped value.
func (c *Common) fill(name string) {
	shipped := DefaultCommon(name)
	for _, field := range []struct{ value, fallback *string }{
		{&c.Root, &shipped.Root},
		{&c.Address, &shipped.Address},
		{&c.LogLevel, &shipped.LogLevel},
		{&c.LogFormat, &shipped.LogFormat},
	} {
		if *field.value == "" {
			*field.value = *field.fallback
		}
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = shipped.DrainTimeout
	}
}

// check refuses what cannot work; it looks at the values only.
func (c *Common) check() error {
	if !filepath.IsAbs(c.Root) {
		return fmt.Errorf("root = %q: must be an absolute path", c.Root)
	}
	if err := checkAddress(c.Address); err != nil {
		return err
	}
	if c.MetricsAddress != "" {
		if _, _, err := net.SplitHostPort(c.MetricsAddress); err != nil {
			return fmt.Errorf("metrics_address = %q: want host:port such as 127.0.0.1:9100, or nothing: %w", c.MetricsAddress, err)
		}
	}
	switch c.LogLevel {
	case "debug", "info", "warn", "error":
	default:
		return fmt.Errorf("log_level = %q: want debug, info, warn or error", c.LogLevel)
	}
	switch c.LogFormat {
	case "text", "json":
	default:
		return fmt.Errorf("log_format = %q: want text or json", c.LogFormat)
	}
	if c.DrainTimeout <= 0 {
		return fmt.Errorf("drain_timeout = %q: must be longer than zero, such as 30s", c.DrainTimeout)
	}
	return nil
}

func checkAddress(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("address = %q: must be the absolute path of a unix socket", path)
	}
	if len(path) > MaxAddress {
		return fmt.Errorf("address = %q: %d bytes long, and a unix socket's path holds %d; choose a shorter one", path, len(path), MaxAddress)
	}
	return nil
}

// setLogging makes the process-wide logger of containerd's libraries, which
// is ours too, write as configured, to stderr.
func (c *Common) setLogging() error {
	return errors.Join(log.SetLevel(c.LogLevel), log.SetFormat(log.OutputFormat(c.LogFormat)))
}
