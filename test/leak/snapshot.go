package leak

import (
	"fmt"
	"slices"
	"strings"
)

// Snapshot is what the kernel held at one moment, by kind: a key that is
// unique for the life of the thing, and a text for people.
type Snapshot map[Kind]map[string]string

// Take asks the kernel. It must be called by the goroutine whose namespaces
// are meant; one that has entered others must have locked its thread.
func Take(scope Scope) (Snapshot, error) {
	if err := scope.check(); err != nil {
		return nil, err
	}
	processes, err := readProcesses(scope)
	if err != nil {
		return nil, fmt.Errorf("leak: count processes: %w", err)
	}
	snapshot := Snapshot{Process: processes.items(), Link: {}, NFT: {}}
	mounts, err := readMounts("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("leak: count mounts: %w", err)
	}
	snapshot[Mount] = mountItems(mounts, scope)
	snapshot[Namespace] = namespaceItems(processes, mounts, scope)
	if snapshot[Loop], err = loopItems(scope); err != nil {
		return nil, fmt.Errorf("leak: count loop devices: %w", err)
	}
	if snapshot[Cgroup], err = cgroupItems(scope); err != nil {
		return nil, fmt.Errorf("leak: count cgroups: %w", err)
	}
	if !scope.OwnNetwork {
		return snapshot, nil
	}
	if snapshot[Link], err = linkItems(); err != nil {
		return nil, fmt.Errorf("leak: count links: %w", err)
	}
	if snapshot[NFT], err = nftItems(); err != nil {
		return nil, fmt.Errorf("leak: count nftables rules: %w", err)
	}
	return snapshot, nil
}

func (s Scope) check() error {
	for _, path := range s.Paths {
		if !strings.HasPrefix(path, "/") || path == "/" {
			return fmt.Errorf("leak: Scope.Paths: %q: give an absolute folder of your own, below /", path)
		}
	}
	if slices.Contains(s.Cgroups, "") {
		return fmt.Errorf("leak: Scope.Cgroups: an empty text is part of every cgroup's path; leave it out")
	}
	return nil
}

// below says whether path is one of the scope's folders or lies below one.
func (s Scope) below(path string) bool {
	return slices.ContainsFunc(s.Paths, func(dir string) bool {
		dir = strings.TrimSuffix(dir, "/")
		return path == dir || strings.HasPrefix(path, dir+"/")
	})
}

// mentions says whether text contains one of the scope's folders.
func (s Scope) mentions(text string) bool {
	return slices.ContainsFunc(s.Paths, func(dir string) bool {
		return strings.Contains(text, strings.TrimSuffix(dir, "/"))
	})
}

// inCgroup says whether a cgroup's path is the caller's.
func (s Scope) inCgroup(path string) bool {
	return slices.ContainsFunc(s.Cgroups, func(part string) bool { return strings.Contains(path, part) })
}
