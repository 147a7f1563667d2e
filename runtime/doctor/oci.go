package doctor

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/varve-project/varve/internal/finding"
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
	path, err := exec.LookPath(n.config.OCIRuntime)
	if err != nil {
		return finding.List{n.found(ociMissing, n.config.OCIRuntime, "reason", err.Error())}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err == nil && !strings.Contains(strings.ToLower(string(out)), "version") {
		err = fmt.Errorf("it printed %q", firstLine(string(out)))
	}
	if err != nil {
		return finding.List{n.found(ociBroken, path, "reason", err.Error())}, nil
	}
	return nil, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
