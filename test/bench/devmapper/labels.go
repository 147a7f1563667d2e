package devmapper

import (
	"maps"
	"sync"

	"github.com/opencontainers/go-digest"
)

// labels keeps the content store's labels in memory; containerd has them in
// its database.
type labels struct {
	mu sync.Mutex
	of map[digest.Digest]map[string]string
}

// Get implements local.LabelStore.
func (l *labels) Get(d digest.Digest) (map[string]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.of[d]), nil
}

// Set implements local.LabelStore.
func (l *labels) Set(d digest.Digest, to map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[d] = maps.Clone(to)
	return nil
}

// Update implements local.LabelStore.
func (l *labels) Update(d digest.Digest, by map[string]string) (map[string]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[d] == nil {
		l.of[d] = map[string]string{}
	}
	for key, value := range by {
		if value == "" {
			delete(l.of[d], key)
		} else {
			l.of[d][key] = value
		}
	}
	return maps.Clone(l.of[d]), nil
}
