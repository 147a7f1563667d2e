package service

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// addFlags gives every command the flags of Common and the daemon's own. The
// daemon's may sit on either flag set of the scratch command that it fills.
func addFlags[C any](root *cobra.Command, spec *Spec[C], config *C, file *string) {
	flags := root.PersistentFlags()
	common := spec.Common(config)
	flags.StringVar(file, "config", defaultFile(spec.Name), "configuration file (TOML)")
	flags.StringVar(&common.Root, "root", common.Root, "folder for everything that must outlive a reboot")
	flags.StringVar(&common.Address, "address", common.Address, "path of the gRPC socket")
	flags.StringVar(&common.MetricsAddress, "metrics-address", common.MetricsAddress, "host:port for /metrics, /healthz and /debug/pprof; empty is off")
	flags.StringVar(&common.LogLevel, "log-level", common.LogLevel, "debug, info, warn or error")
	flags.StringVar(&common.LogFormat, "log-format", common.LogFormat, "text or json")
	flags.Var(&common.DrainTimeout, "drain-timeout", "how long calls under way may take after SIGTERM")
	if spec.Flags != nil {
		scratch := &cobra.Command{}
		spec.Flags(scratch, config)
		flags.AddFlagSet(scratch.PersistentFlags())
		flags.AddFlagSet(scratch.Flags())
	}
}

func defaultFile(name string) string { return "/etc/varve/" + name + ".toml" }

// given remembers the flags on the command line, so that they can be laid
// over what the file says: flags win, and both write to the same fields.
type given struct {
	flag *pflag.Flag
	text string
	list []string
}

func remember(flags *pflag.FlagSet) []given {
	var all []given
	flags.Visit(func(f *pflag.Flag) {
		g := given{flag: f, text: f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			g.list = append([]string{}, list.GetSlice()...)
		}
		all = append(all, g)
	})
	return all
}

// restore sets the flag's target again. A list is replaced: pflag's Set would
// append to what the file says.
func (g given) restore() error {
	var err error
	if list, ok := g.flag.Value.(pflag.SliceValue); ok {
		err = list.Replace(g.list)
	} else {
		err = g.flag.Value.Set(g.text)
	}
	if err != nil {
		return fmt.Errorf("--%s: %w", g.flag.Name, err)
	}
	return nil
}
