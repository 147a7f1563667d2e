package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/runtime/doctor"
)

func doctorCommand(g *globals) *cobra.Command {
	var fix, dryRun bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with this node, what it means, and what mends it",
		Long: `Say what is wrong with this node, what it means, and what mends it.

Without --fix nothing is changed. With --fix the commands of orphans (findings
about things that belong to nothing any more) are printed and run, and the node
is looked at again; every other finding stays for a person to decide on.
--fix --dry-run prints those commands and runs none.

Exit status 0: no finding of severity error. 1: there is one, or a command of
--fix failed. 2: misused.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dryRun && !fix {
				return usagef("--dry-run: goes with --fix; without --fix nothing is changed anyway")
			}
			found, err := doctor.Run(cmd.Context(), g.Config)
			if err != nil {
				return err
			}
			failed := false
			if fix {
				if found, failed, err = g.fixOrphans(cmd.Context(), found, dryRun); err != nil {
					return err
				}
			}
			if err := g.print(found, func() error { return g.findings(found, fix) }); err != nil {
				return err
			}
			if failed || found.Worst() == finding.Error {
				return exitError{exitFailed}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&fix, "fix", false, "run the commands of orphans, and of nothing else")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "with --fix: print the commands and run none")
	return cmd
}

// rounds bounds --fix: what is removed may make an orphan of what it held (an
// address, once the namespace is gone), and that chain is short.
const rounds = 4

// fixOrphans runs the commands of the orphans in found, and looks again until
// no new one shows. It returns what is left, and whether a command failed.
func (g *globals) fixOrphans(ctx context.Context, found finding.List, dryRun bool) (finding.List, bool, error) {
	failed := false
	tried := map[string]bool{}
	for range rounds {
		progress := false
		for _, f := range found {
			if !f.Orphan || f.Command == "" || tried[f.Command] {
				continue
			}
			tried[f.Command] = true
			// The commands go to the error stream: in JSON the output
			// is the findings and nothing else.
			if _, err := fmt.Fprintln(g.Err, f.Command); err != nil {
				return found, failed, err
			}
			if dryRun {
				continue
			}
			progress = true
			if out, err := g.mend(ctx, f).CombinedOutput(); err != nil {
				failed = true
				fmt.Fprintf(g.Err, "  failed: %v: %s\n", err, strings.TrimSpace(string(out)))
			}
		}
		if !progress {
			break
		}
		var err error
		if found, err = doctor.Run(ctx, g.Config); err != nil {
			return found, failed, err
		}
	}
	return found, failed, nil
}

// mend runs a finding's command, which may name a plug-in that lies outside
// PATH.
func (g *globals) mend(ctx context.Context, f finding.Finding) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", f.Command)
	path := append(filepath.SplitList(os.Getenv("PATH")), g.Config.BinDirs()...)
	cmd.Env = append(os.Environ(), "PATH="+strings.Join(path, string(filepath.ListSeparator)))
	return cmd
}

// findings prints the list for a person, with a closing line.
func (g *globals) findings(found finding.List, fixed bool) error {
	if err := found.WriteText(g.Out); err != nil {
		return err
	}
	count := map[finding.Severity]int{}
	orphans := 0
	for _, f := range found {
		count[f.Severity]++
		if f.Orphan {
			orphans++
		}
	}
	line := fmt.Sprintf("%d errors, %d warnings, %d notes",
		count[finding.Error], count[finding.Warning], count[finding.Info])
	if orphans > 0 && !fixed {
		line += fmt.Sprintf("; `varve doctor --fix` takes away %d orphans", orphans)
	}
	_, err := fmt.Fprintln(g.Out, line)
	return err
}
