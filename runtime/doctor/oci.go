package doctor

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/runtime/oci"
)

var (
	ociMissing = define(Definition{
		ID: "oci.runtime.missing", Severity: finding.Error,
		Text:    "the OCI runtime {object} is not there: {reason}",
		Meaning: "No container can start.",
		Remedy:  "Install it, or name another with --oci-runtime (oci_runtime in varve.toml).",
		Command: "apt-get install runc",
	})
	ociBroken = define(Definition{
		ID: "oci.runtime.broken", Severity: finding.Error,
		Text:    "the OCI runtime {object} does not say its version: {reason}",
		Meaning: "It will not start containers either.",
		Remedy:  "Install it again, or name another with --oci-runtime (oci_runtime in varve.toml).",
	})
)

func (n *node) oci(ctx context.Context) (finding.List, error) {
	runtime, err := n.ociRuntime()
	if err == nil {
		_, err = exec.LookPath(runtime.Path)
	}
	if err != nil {
		return finding.List{n.found(ociMissing, n.config.OCIRuntime, "reason", err.Error())}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, runtime.Path, "--version").Output()
	if err == nil && !strings.Contains(strings.ToLower(string(out)), "version") {
		err = fmt.Errorf("it printed %q", firstLine(string(out)))
	}
	if err != nil {
		return finding.List{n.found(ociBroken, runtime.Path, "reason", err.Error())}, nil
	}
	return nil, nil
}

// ociRuntime finds the runtime where pods find it.
func (n *node) ociRuntime() (*oci.Runtime, error) {
	return oci.Find(n.config.OCIRuntime, filepath.Join(n.config.RuntimeState(), "oci"), n.config.BinDirs()...)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
