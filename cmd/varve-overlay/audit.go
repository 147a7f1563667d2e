package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/overlay"
	"github.com/varve-project/varve/snapshotter/command"
	"github.com/varve-project/varve/snapshotter/server"
)

// auditCommand compares records and disk, through the daemon where one runs.
func auditCommand(load func(*cobra.Command) (*config, error)) *cobra.Command {
	return command.Audit(command.AuditText{
		Short: "Compare the records with the disk; --fix moves what belongs to nobody to the trash",
		Fix:   "move what has no record to the trash",
		Agree: "records and disk agree",
	}, func(cmd *cobra.Command, fix bool) (finding.List, error) {
		c, err := load(cmd)
		if err != nil {
			return nil, err
		}
		return audit(cmd.Context(), c, fix)
	})
}

func audit(ctx context.Context, c *config, fix bool) (finding.List, error) {
	conn, err := server.Dial(ctx, c.Address, 3*time.Second)
	if err == nil {
		defer conn.Close()
		return server.Audit(ctx, conn, fix)
	}
	if !server.NobodyListens(err) {
		return nil, err
	}
	if fix {
		return nil, fmt.Errorf("no daemon answers on %s, and without one nothing is moved: start varve-overlay, whose start does the same as --fix", c.Address)
	}
	list, err := overlay.Inspect(ctx, c.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return list, err
}

// doctorPatience bounds the wait for a daemon that hangs: the person who asks
// the doctor then learns just that.
const doctorPatience = 5 * time.Second

// doctor looks at kernel, root and configuration, and at the records.
func doctor(ctx context.Context, c *config) (finding.List, error) {
	list := overlay.Doctor(c.Root, c.Config)
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	found, err := audit(ctx, c, false)
	if err != nil {
		list = append(list, finding.Finding{
			ID: "overlay.records.unreadable", Severity: finding.Error, Object: c.Root,
			Text: err.Error(), Meaning: "snapshots may be unusable",
			Remedy: "see the daemon's log: journalctl -u varve-overlay",
		})
	}
	return append(list, found...), nil
}
