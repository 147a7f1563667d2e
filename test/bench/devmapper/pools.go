package devmapper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/dm"
)

// mountRoots makes a file system for the daemons' roots: in the machine's
// memory their syncs would cost nothing.
func mountRoots(ctx context.Context, dir string) error {
	if err := run(ctx, "mkfs.ext4", "-q", rootsDisk); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(rootsDisk, dir, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount %s at %s: %w", rootsDisk, dir, err)
	}
	return nil
}

// createOurs makes our pool as an operator does; config is the file to write.
func createOurs(ctx context.Context, binary, config, root string) error {
	if _, err := exec.LookPath(binary); err != nil {
		return fmt.Errorf("%w; build it with make build", err)
	}
	return run(ctx, binary, "pool", "create", "--data-device", oursData, "--metadata-device", oursMetadata,
		"--config", config, "--root", root, "--write-config")
}

// poolTable finds the one thin pool that there is: ours, once its daemon runs.
func poolTable(ctl *dm.Control) (name string, table dm.Target, err error) {
	devices, err := ctl.List()
	if err != nil {
		return "", dm.Target{}, err
	}
	for _, device := range devices {
		targets, err := ctl.Table(device.Name)
		if err != nil {
			return "", dm.Target{}, err
		}
		if len(targets) == 1 && targets[0].Type == "thin-pool" {
			return device.Name, targets[0], nil
		}
	}
	return "", dm.Target{}, errors.New("no thin pool is active; did varve-devmapper start?")
}

// createEqual makes a pool with the same table as ours on other devices.
func createEqual(ctl *dm.Control, name string, table dm.Target, data, metadata string) error {
	fields := strings.Fields(table.Params)
	if len(fields) < 4 {
		return fmt.Errorf("the table of a thin pool has at least four fields: %q", table.Params)
	}
	fields[0], fields[1] = metadata, data
	table.Params = strings.Join(fields, " ")
	_, err := ctl.Activate(name, "", false, table)
	return err
}

// usedBlocks is how many of a pool's data blocks are taken. The kernel commits
// the pool first.
func usedBlocks(ctl *dm.Control, pool string) (int, error) {
	_, status, err := ctl.Status(pool, dm.StatusOptions{})
	if err != nil {
		return 0, err
	}
	if len(status) != 1 {
		return 0, fmt.Errorf("pool %s has %d targets, want 1", pool, len(status))
	}
	// TRANSACTION USED/TOTAL-METADATA USED/TOTAL-DATA ...
	fields := strings.Fields(status[0].Status)
	if len(fields) < 3 {
		return 0, fmt.Errorf("the status of pool %s is %q", pool, status[0].Status)
	}
	used, _, _ := strings.Cut(fields[2], "/")
	return strconv.Atoi(used)
}

func run(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(append([]string{filepath.Base(args[0])}, args[1:]...), " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
