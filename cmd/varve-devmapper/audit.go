package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/varve-project/varve/devmapper"
	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/snapshotter/command"
	"github.com/varve-project/varve/snapshotter/server"
)

// auditCommand asks the daemon to compare its records with the pool.
func auditCommand(load func(*cobra.Command) (*config, error)) *cobra.Command {
	return command.Audit(command.AuditText{
		Short: "Compare the records with the pool; --fix deletes thin devices that belong to nobody",
		Fix:   "delete thin devices that no record names",
		Agree: "records and pool agree",
	}, func(cmd *cobra.Command, fix bool) (finding.List, error) {
		c, err := load(cmd)
		if err != nil {
			return nil, err
		}
		return audit(cmd.Context(), c, fix)
	})
}

// errNoDaemon: the records are on the pool's disk, and only its owner mounts
// that.
var errNoDaemon = errors.New("the records lie on the pool's disk, which only the daemon has open: start varve-devmapper, whose start compares and mends as audit --fix does")

func audit(ctx context.Context, c *config, fix bool) (finding.List, error) {
	conn, err := server.Dial(ctx, c.Address, 3*time.Second)
	if server.NobodyListens(err) {
		return nil, fmt.Errorf("no daemon answers on %s: %w", c.Address, errNoDaemon)
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return server.Audit(ctx, conn, fix)
}

// doctorPatience bounds the wait for a daemon that hangs: the person who asks
// the doctor then learns just that.
const doctorPatience = 5 * time.Second

// doctor looks at this machine and the configuration, and where a daemon runs
// at its records.
func doctor(ctx context.Context, c *config) (finding.List, error) {
	list := devmapper.Doctor(c.Config)
	if !c.located() {
		return append(list, finding.Finding{
			ID: "devmapper.pool.none", Severity: finding.Info,
			Text: "no pool is configured", Meaning: "varve-devmapper does not start on this node; nothing else misses it",
			Remedy: "to use it, make a pool: varve-devmapper pool create --device /dev/DISK --write-config",
		}), nil
	}
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	found, err := audit(ctx, c, false)
	switch {
	case errors.Is(err, errNoDaemon):
		list = append(list, finding.Finding{
			ID: "devmapper.daemon.down", Severity: finding.Info, Object: c.Address,
			Text: "no daemon answers", Meaning: "no snapshot can be made or mounted; the records cannot be compared with the pool",
			Command: "systemctl start varve-devmapper",
		})
	case err != nil:
		list = append(list, finding.Finding{
			ID: "devmapper.records.unreadable", Severity: finding.Error, Object: c.Address,
			Text: err.Error(), Meaning: "snapshots may be unusable",
			Remedy: "see the daemon's log: journalctl -u varve-devmapper",
		})
	}
	return append(list, found...), nil
}
