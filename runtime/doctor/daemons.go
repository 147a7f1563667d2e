package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/varve-project/varve/internal/finding"
)

var binaryMissing = define(Definition{
	ID: "runtime.binary.missing", Severity: finding.Error,
	Text:    "the program {object} is not there: it is neither beside varve, nor in {folders}, nor in PATH",
	Meaning: "The part that it serves cannot run, and its own findings are missing below.",
	Remedy:  "Install the suite (`make install`), or name the folder with --cni-bin-dir.",
})

// daemons runs each daemon's own doctor and passes its findings on.
func (n *node) daemons(ctx context.Context) (finding.List, error) {
	var list finding.List
	var errs []error
	for _, d := range n.suite() {
		name := "varve-" + d.name
		path, err := n.binary(name)
		if err != nil {
			if d.wanted {
				list = append(list, n.found(binaryMissing, name, "folders", strings.Join(n.config.CNIBinDirs, ", ")))
			}
			continue
		}
		if n.hung[d.name] {
			continue // the check of the sockets has said so
		}
		found, err := ownDoctor(ctx, path, "--root", n.root(d), "--address", d.address)
		list = append(list, found...)
		errs = append(errs, err)
	}
	return list, errors.Join(errs...)
}

// ownDoctor runs `PATH doctor -o json` and reads what it found. A daemon's
// doctor exits 0 whenever it could look.
func ownDoctor(ctx context.Context, path string, args ...string) (finding.List, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"doctor", "-o", "json"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", cmd, err, firstLine(stderr.String()))
	}
	var list finding.List
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, fmt.Errorf("%s: it printed no list of findings: %w", cmd, err)
	}
	return list, nil
}
