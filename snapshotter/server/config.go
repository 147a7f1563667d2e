package server

import (
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/internal/service"
)

// Config is the server's part of a snapshotter daemon's configuration.
type Config struct {
	CallTimeout    service.Duration `toml:"call_timeout" comment:"Deadline of every call but Cleanup and Usage. A hung disk then fails calls and does not wedge containerd, which holds a lock over some of them."`
	UsageTimeout   service.Duration `toml:"usage_timeout" comment:"Deadline of Usage, which may have to count a big tree."`
	CleanupTimeout service.Duration `toml:"cleanup_timeout" comment:"Deadline of Cleanup, which waits until everything removed is deleted."`
	ListTimeout    service.Duration `toml:"list_timeout" comment:"How long a client may take to read the answer of List."`
	MaxCalls       int              `toml:"max_calls" comment:"Calls under way at once; further ones are answered with RESOURCE_EXHAUSTED."`
}

// DefaultConfig is what is shipped.
func DefaultConfig() Config {
	return Config{
		CallTimeout:    service.Duration(2 * time.Minute),
		UsageTimeout:   service.Duration(5 * time.Minute),
		CleanupTimeout: service.Duration(30 * time.Minute),
		ListTimeout:    service.Duration(time.Minute),
		MaxCalls:       4096,
	}
}

// Check refuses values that cannot work; the error names the key.
func (c Config) Check() error {
	for _, d := range []struct {
		key   string
		value service.Duration
	}{
		{"call_timeout", c.CallTimeout}, {"usage_timeout", c.UsageTimeout},
		{"cleanup_timeout", c.CleanupTimeout}, {"list_timeout", c.ListTimeout},
	} {
		if d.value <= 0 {
			return fmt.Errorf("%s = %q: take a time above zero, such as \"2m\": %w", d.key, time.Duration(d.value), errdefs.ErrInvalidArgument)
		}
	}
	if c.MaxCalls < 1 {
		return fmt.Errorf("max_calls = %d: take 1 or more: %w", c.MaxCalls, errdefs.ErrInvalidArgument)
	}
	return nil
}
