package leak

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// process is one process or, for its namespaces, one thread.
type process struct {
	pid, parent int
	dir         string // /proc/PID
	started     string // clock ticks since boot
	text        string
}

type processes []process

func (ps processes) items() map[string]string {
	items := map[string]string{}
	for _, p := range ps {
		items[strconv.Itoa(p.pid)+" "+p.started] = p.text
	}
	return items
}

// readProcesses lists the processes of the scope, without the calling one. A
// process that ends while the list is made is left out.
func readProcesses(scope Scope) (processes, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all processes
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if p, ok := readProcess(pid); ok {
			all = append(all, p)
		}
	}
	if scope.OwnProcesses {
		return all, nil
	}
	return all.in(scope), nil
}

// in chooses the scope's processes and their descendants.
func (ps processes) in(scope Scope) processes {
	ours := map[int]bool{}
	for _, p := range ps {
		ours[p.pid] = p.matches(scope)
	}
	for changed := true; changed; {
		changed = false
		for _, p := range ps {
			if !ours[p.pid] && ours[p.parent] {
				ours[p.pid], changed = true, true
			}
		}
	}
	var chosen processes
	for _, p := range ps {
		if ours[p.pid] {
			chosen = append(chosen, p)
		}
	}
	return chosen
}

func (p process) matches(scope Scope) bool {
	for _, link := range []string{"/exe", "/cwd", "/root"} {
		if target, err := os.Readlink(p.dir + link); err == nil && scope.below(target) {
			return true
		}
	}
	cgroups, _ := os.ReadFile(p.dir + "/cgroup")
	for line := range strings.Lines(string(cgroups)) {
		if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts) == 3 && scope.inCgroup(parts[2]) {
			return true
		}
	}
	return scope.mentions(p.text) || rootedBelow(p.dir, scope)
}

// readProcess reads /proc/PID/stat (proc_pid_stat(5)): the name stands in
// parentheses and may hold any character; the parent is the 2nd and the start
// time the 20th field after it.
func readProcess(pid int) (process, bool) {
	p := process{pid: pid, dir: fmt.Sprintf("/proc/%d", pid)}
	stat, err := os.ReadFile(p.dir + "/stat")
	if err != nil {
		return p, false
	}
	end := bytes.LastIndexByte(stat, ')')
	fields := strings.Fields(string(stat[end+1:]))
	if end < 0 || len(fields) < 20 {
		return p, false
	}
	p.parent, _ = strconv.Atoi(fields[1])
	p.started = fields[19]
	args, _ := os.ReadFile(p.dir + "/cmdline")
	p.text = fmt.Sprintf("%d %s", pid, bytes.ReplaceAll(bytes.TrimRight(args, "\x00"), []byte{0}, []byte{' '}))
	if len(args) == 0 {
		name := string(stat[bytes.IndexByte(stat, '(') : end+1])
		p.text = fmt.Sprintf("%d %s state %s", pid, name, fields[0])
	}
	return p, true
}
