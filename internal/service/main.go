package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/log"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
)

// Exit codes of every daemon.
const (
	exitDone   = 0
	exitFailed = 1
	exitMisuse = 2
)

// misuse is what the caller got wrong: command line or configuration.
type misuse struct{ error }

func (m misuse) Unwrap() error { return m.error }

// failure is an error of a command that had begun.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// Main runs the daemon that spec describes and ends the process: without a
// sub-command it serves, until SIGTERM, SIGINT or SIGHUP.
func Main[C any](spec Spec[C]) {
	os.Exit(run(spec, os.Args[1:], os.Stdout, os.Stderr))
}

// program is one run of a daemon's binary.
type program[C any] struct {
	spec   Spec[C]
	config *C
	file   string
	loaded bool
}

func run[C any](spec Spec[C], args []string, stdout, stderr io.Writer) int {
	config := spec.Default()
	spec.Common(&config).fill(spec.Name)
	p := &program[C]{spec: spec, config: &config}
	root := p.commands()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	var failed failure
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, new(misuse)) || !errors.As(err, &failed):
		_, _ = fmt.Fprintf(stderr, "%s: %v\nSee '%s --help'.\n", binary(spec.Name), err, binary(spec.Name))
		return exitMisuse
	default:
		p.report(stderr, failed.error)
		return exitFailed
	}
}

// report prints the error that ends the process, in the log's own form where
// a machine reads the log.
func (p *program[C]) report(stderr io.Writer, err error) {
	if p.loaded && p.spec.Common(p.config).LogFormat == "json" {
		log.L.Error(err)
		return
	}
	_, _ = fmt.Fprintf(stderr, "%s: %v\n", binary(p.spec.Name), err)
}

func binary(name string) string { return "varve-" + name }

func (p *program[C]) commands() *cobra.Command {
	root := &cobra.Command{
		Use:           binary(p.spec.Name),
		Short:         p.spec.Short,
		Long:          p.spec.Short + ".\n\nWithout a sub-command it serves until SIGTERM, and drains.",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := p.load(cmd)
			if err != nil {
				return err
			}
			return p.serve(config)
		},
	}
	addFlags(root, &p.spec, p.config, &p.file)
	root.AddCommand(versionCommand(p.spec.Name), p.configCommand(), p.doctorCommand())
	if p.spec.Commands != nil {
		root.AddCommand(p.spec.Commands(p.load)...)
	}
	markFailures(root)
	return root
}

// markFailures tells errors of a command at work from errors in how it was
// called, which cobra returns alike.
func markFailures(cmd *cobra.Command) {
	if inner := cmd.RunE; inner != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if err := inner(cmd, args); err != nil {
				return failure{err}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		markFailures(sub)
	}
}

// load reads the file, lays the flags over it, checks the result and sets up
// logging. It does so once; further calls return the same value.
func (p *program[C]) load(cmd *cobra.Command) (*C, error) {
	if p.loaded {
		return p.config, nil
	}
	flags := remember(cmd.Flags())
	if err := readConfig(p.file, cmd.Flags().Changed("config"), p.config); err != nil {
		return nil, misuse{err}
	}
	for _, g := range flags {
		if err := g.restore(); err != nil {
			return nil, misuse{err}
		}
	}
	if err := p.check(); err != nil {
		return nil, misuse{err}
	}
	if err := p.spec.Common(p.config).setLogging(); err != nil {
		return nil, misuse{err}
	}
	p.loaded = true
	return p.config, nil
}

func (p *program[C]) check() error {
	if err := p.spec.Common(p.config).check(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if p.spec.Check == nil {
		return nil
	}
	if err := p.spec.Check(p.config); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return nil
}

func (p *program[C]) serve(config *C) error {
	d := daemon{
		name:   p.spec.Name,
		common: p.spec.Common(config),
		open: func(ctx context.Context, server *grpc.Server) (Service, error) {
			return p.spec.Open(ctx, config, server)
		},
	}
	if p.spec.Interceptors != nil {
		d.options = p.spec.Interceptors(config)
	}
	return d.run()
}
