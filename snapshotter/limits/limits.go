// Package limits bounds what a client may send: sizes of keys and labels.
// The values are containerd's where it has one, so that nothing containerd
// accepts is refused here. The package is pure.
package limits

import (
	"fmt"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

const (
	// MaxKey is the longest key or name in bytes: bbolt's limit less room
	// for what containerd puts before it (namespace and number).
	MaxKey = bolt.MaxKeySize - 1024
	// MaxLabel bounds the key and value of one label together, in bytes
	// (containerd's pkg/labels).
	MaxLabel = 4096
	// MaxLabels bounds the number of labels of one snapshot.
	MaxLabels = 1024
)

// Key refuses a key or name that the store cannot hold. what names the field
// ("key", "name", "parent").
func Key(what, key string) error {
	if key == "" {
		return fmt.Errorf("%s is empty: %w", what, errdefs.ErrInvalidArgument)
	}
	if len(key) > MaxKey {
		return fmt.Errorf("%s %.40q...: %d bytes, at most %d are possible: %w", what, key, len(key), MaxKey, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Labels refuses labels that are too many or too long.
func Labels(labels map[string]string) error {
	if len(labels) > MaxLabels {
		return fmt.Errorf("labels: %d of them, at most %d are possible: %w", len(labels), MaxLabels, errdefs.ErrInvalidArgument)
	}
	for k, v := range labels {
		if k == "" {
			return fmt.Errorf("labels: one has an empty key: %w", errdefs.ErrInvalidArgument)
		}
		if len(k)+len(v) > MaxLabel {
			return fmt.Errorf("label %.40q...: key and value have %d bytes, at most %d are possible: %w", k, len(k)+len(v), MaxLabel, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}
