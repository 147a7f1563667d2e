package leak

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// namespaceItems finds namespaces by everything that keeps one alive: the
// processes that live in it or hold a descriptor of it, and mounts. The key is
// the kernel's own name, whose inode number may be given out again once the
// namespace is gone.
func namespaceItems(processes processes, mounts []*mountinfo.Info, scope Scope) map[string]string {
	items := map[string]string{}
	for _, p := range processes {
		for _, name := range p.namespaces() {
			items[name] = name + " of " + p.text
		}
	}
	for _, m := range mounts {
		name := pinned(m)
		if name != "" && (scope.OwnMounts || scope.below(m.Mountpoint)) {
			items[name] = name + " pinned at " + m.Mountpoint
		}
	}
	for _, name := range (process{dir: "/proc/thread-self"}).own() {
		delete(items, name)
	}
	return items
}

// namespaces lists the namespaces that a process keeps alive.
func (p process) namespaces() []string {
	tasks, _ := filepath.Glob(p.dir + "/task/*")
	var names []string
	for _, task := range tasks {
		names = append(names, process{dir: task}.own()...)
	}
	fds, _ := os.ReadDir(p.dir + "/fd")
	for _, fd := range fds {
		target, err := os.Readlink(p.dir + "/fd/" + fd.Name())
		if err == nil && strings.Contains(target, ":[") && !anonymous(target) {
			names = append(names, target)
		}
	}
	return names
}

// own lists the namespaces that a process or thread lives in. One that has
// ended in the meantime lives in none.
func (p process) own() []string {
	links, _ := os.ReadDir(p.dir + "/ns")
	var names []string
	for _, link := range links {
		if name, err := os.Readlink(p.dir + "/ns/" + link.Name()); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// anonymous says whether a descriptor's target is a pipe, a socket or an
// anonymous inode, which the kernel writes like a namespace.
func anonymous(target string) bool {
	kind, _, _ := strings.Cut(target, ":")
	return kind == "socket" || kind == "pipe" || kind == "anon_inode"
}
