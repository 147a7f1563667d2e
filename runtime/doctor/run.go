package doctor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/runtime/config"
)

var checkFailed = define(Definition{
	ID: "runtime.doctor.failed", Severity: finding.Warning,
	Text:    "the check {object} could not be made: {reason}",
	Meaning: "What this check would have found stays unknown; the other checks are not touched by it.",
	Remedy:  "Mend what the reason names, and run `varve doctor` again. Most checks need root.",
})

// node is one run over one node.
type node struct {
	config config.Config
	// down is set by the checks of the sockets: no daemon of this suite has
	// a socket, and no pod is recorded. Checks of what only a running suite
	// has keep silent then.
	down bool
	// serving are the daemons that serve, by name; hung are those that hold
	// their socket and do not, for which their own doctors would wait as
	// everybody does.
	serving, hung map[string]bool
}

// check is one subject that can be looked at by itself.
type check struct {
	name string
	run  func(*node, context.Context) (finding.List, error)
}

// checks are made in this order; those of the daemons come first, since later
// ones ask the node whether the suite is down.
var checks = []check{
	{"sockets", (*node).sockets},
	{"kernel", (*node).kernel},
	{"cgroups", (*node).cgroups},
	{"disk", (*node).disk},
	{"clock", (*node).clock},
	{"oci", (*node).oci},
	{"cni", (*node).cni},
	{"csi", (*node).csi},
	{"containerd", (*node).containerd},
	{"daemons", (*node).daemons},
	{"pods", (*node).pods},
	{"orphans", (*node).orphans},
}

// Run looks at the node that c describes and returns what it found, worst
// first. It changes nothing. A check that cannot be made is a finding of its
// own; the error is ctx's, when that ended.
func Run(ctx context.Context, c config.Config) (finding.List, error) {
	n := &node{config: c, serving: map[string]bool{}, hung: map[string]bool{}}
	list := finding.List{}
	for _, k := range checks {
		found, err := k.run(n, ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("doctor: %w", ctx.Err())
		}
		list = append(list, found...)
		if err != nil {
			list = append(list, n.found(checkFailed, k.name, "reason", err.Error()))
		}
	}
	list.Sort()
	return list, nil
}

// varve is the command line that reaches this suite, ready to paste.
func (n *node) varve() string {
	words := []string{"varve"}
	if _, err := exec.LookPath("varve"); err != nil {
		if self, err := os.Executable(); err == nil {
			words[0] = shellQuote(self)
		}
	}
	d := config.Default()
	if n.config.Root != d.Root {
		words = append(words, "--root", shellQuote(n.config.Root))
	}
	if n.config.State != d.State {
		words = append(words, "--state", shellQuote(n.config.State))
	}
	return strings.Join(words, " ")
}

// binary finds one of the suite's own programs: beside this one, then in the
// folders of CNI plug-ins, then in PATH.
func (n *node) binary(name string) (string, error) {
	for _, dir := range n.config.BinDirs() {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return exec.LookPath(name)
}
