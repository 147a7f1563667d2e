package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/devmapper/pool/setup"
)

// poolCommand makes, shows, checks, widens, mends and dismantles the pool.
func poolCommand(_ func(*cobra.Command) (*config, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pool",
		Short: "Make, show, check, extend, repair or destroy the thin pool",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("pool: say create, status, check, extend, repair or destroy")
		},
	}
	cmd.AddCommand(poolCreateCommand(), poolStatusCommand(), poolCheckCommand(), poolExtendCommand(), poolRepairCommand(), poolDestroyCommand())
	return cmd
}

// where is what a set-up command needs of the configuration. It is read
// leniently: before there is a pool no configuration is whole.
type where struct {
	Root string      `toml:"root"`
	Pool pool.Config `toml:"pool"`
	file string
}

// locate reads the daemon's file where there is one, and lets --root win.
func locate(cmd *cobra.Command) (where, error) {
	w := where{Pool: defaultConfig().Pool}
	w.file = flagText(cmd, "config")
	w.Root = flagText(cmd, "root")
	text, err := os.ReadFile(w.file)
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil // create may be about to write it
	}
	if err != nil {
		return w, fmt.Errorf("configuration: %w", err)
	}
	root := w.Root
	if err := toml.Unmarshal(text, &w); err != nil {
		return w, fmt.Errorf("configuration %s: %w", w.file, err)
	}
	if cmd.Flags().Changed("root") || w.Root == "" {
		w.Root = root
	}
	return w, nil
}

// placeFlags let a command work on a pool that the configuration does not name.
type placeFlags struct{ setup.Location }

func (p *placeFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.VolumeGroup, "volume-group", "", "the pool in this volume group, instead of the configured one")
	f.StringVar(&p.ThinPool, "thin-pool", "", "the pool on this thin-pool volume, as VG/LV")
	f.StringVar(&p.DataDevice, "data-device", "", "the pool on this device and --metadata-device")
	f.StringVar(&p.MetadataDevice, "metadata-device", "", "see --data-device")
	f.StringVar(&p.LoopDirectory, "loop-directory", "", "the pool in this folder")
}

// locate is locate with the flags over the file.
func (p *placeFlags) locate(cmd *cobra.Command) (where, error) {
	w, err := locate(cmd)
	if err == nil && p.Location != (setup.Location{}) {
		w.Pool = p.In(w.Pool)
	}
	return w, err
}

func flagText(cmd *cobra.Command, name string) string {
	if f := cmd.Flags().Lookup(name); f != nil {
		return f.Value.String()
	}
	return ""
}

// change is what every command that changes something has in common.
type change struct {
	output string
	dryRun bool
}

func (c *change) flags(cmd *cobra.Command) {
	outputFlag(cmd, &c.output)
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "print each step as it would run; change nothing")
}

func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "text", "text or json")
}

func checkOutput(output string) error {
	if output != "text" && output != "json" {
		return fmt.Errorf("--output %q: want text or json", output)
	}
	return nil
}

// planner looks at what there is and says what is to be done.
type planner func(ctx context.Context, h *setup.Host) (*setup.Plan, error)

// perform plans and then prints or runs. Steps go to stderr as they begin, so
// that stdout is the result alone.
//
// With alone the daemon must not run on the same root.
func (c *change) perform(cmd *cobra.Command, root string, alone bool, plan planner) (*setup.Plan, error) {
	if err := checkOutput(c.output); err != nil {
		return nil, err
	}
	h := setup.NewHost(root, cmd.ErrOrStderr())
	if c.dryRun {
		p, err := plan(cmd.Context(), h)
		if err != nil {
			return nil, err
		}
		return p, c.print(cmd.OutOrStdout(), p)
	}
	release, err := h.Lock(alone)
	if err != nil {
		return nil, err
	}
	defer release()
	p, err := plan(cmd.Context(), h)
	if err != nil {
		return nil, err
	}
	if err := p.Run(cmd.Context(), h); err != nil {
		return nil, err
	}
	if c.output == "json" {
		return p, c.print(cmd.OutOrStdout(), p)
	}
	return p, nil
}

func (c *change) print(w io.Writer, p *setup.Plan) error {
	if c.output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(p)
	}
	p.WriteText(w)
	return nil
}
