package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/varve-project/varve/test/vm"
)

// defaultTimeout lets the 10 minutes of go test come first, which know more.
const defaultTimeout = 15 * time.Minute

// run boots a machine, runs the command and returns its exit status.
func run(args []string) (int, error) {
	o, timeout, argv, err := parse(args)
	if err != nil {
		return 0, err
	}
	if err := expose(&o, argv); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), timeout, fmt.Errorf("--timeout %v", timeout))
	defer cancel()
	ctx, stop := ended(ctx)
	defer stop()

	machine, err := vm.Boot(ctx, o)
	if err != nil {
		return 0, err
	}
	defer machine.Close()
	cmd := vm.Cmd{Args: argv, Stdin: stdin(), Stdout: os.Stdout, Stderr: os.Stderr, Signals: forwarded()}
	exit, err := machine.Run(ctx, cmd)
	return exit.Code, err
}

// ended gives a context that a signal ends which asks for the end of
// everything.
func ended(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		if sig, ok := <-signals; ok {
			cancel(fmt.Errorf("signal: %v", sig))
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel(nil)
	}
}

// forwarded are signals that are for the command: SIGQUIT, by which go test
// asks a test binary for its goroutines.
func forwarded() <-chan syscall.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGQUIT)
	out := make(chan syscall.Signal, 1)
	go func() {
		for sig := range signals {
			if number, ok := sig.(syscall.Signal); ok {
				out <- number
			}
		}
	}()
	return out
}

// stdin is nil where standard input is empty anyway, so that no goroutine waits
// for it.
func stdin() io.Reader {
	info, err := os.Stdin.Stat()
	if err != nil {
		return nil
	}
	null, err := os.Stat(os.DevNull)
	if err != nil || os.SameFile(info, null) {
		return nil
	}
	return os.Stdin
}

// parse reads the flags, up to the command.
func parse(args []string) (vm.Options, time.Duration, []string, error) {
	o := vm.Options{Log: say}
	flags := flag.NewFlagSet("vm run", flag.ContinueOnError)
	flags.Func("disk", "a disk of `SIZE` (4G, 512M); the first is /dev/vda, the next /dev/vdb", func(s string) error {
		size, err := parseSize(s)
		o.Disks = append(o.Disks, vm.Disk{Size: size})
		return err
	})
	flags.Func("memory", "the guest's memory, `SIZE` (default 2G)", func(s string) (err error) {
		o.Memory, err = parseSize(s)
		return err
	})
	flags.Func("tmp", "put /tmp on an ext4 disk of `SIZE`, the last one, instead of in memory", func(s string) (err error) {
		o.Tmp, err = parseSize(s)
		return err
	})
	flags.Func("share", "a `DIR` of this machine that the guest may write", func(s string) error {
		o.Shares = append(o.Shares, s)
		return nil
	})
	flags.Func("keep", "a `DIR` below /tmp, /run or /var that the guest sees as well; its changes stay there", func(s string) error {
		o.Keep = append(o.Keep, s)
		return nil
	})
	flags.IntVar(&o.CPUs, "cpus", 2, "the guest's processors")
	flags.StringVar(&o.Cgroup, "cgroup", "v2", "cgroup hierarchy, v1 or v2")
	flags.BoolVar(&o.Udev, "udev", false, "run systemd-udevd in the guest")
	flags.StringVar(&o.Accel, "accel", vm.AccelAuto, "auto, kvm or tcg")
	flags.DurationVar(&o.BootTimeout, "boot-timeout", 4*time.Minute, "how long the boot may take")
	timeout := flags.Duration("timeout", defaultTimeout, "how long all of it may take")
	console := flags.Bool("console", false, "show the guest's console on standard error")
	if err := flags.Parse(args); err != nil {
		return o, 0, nil, alreadySaid{err}
	}
	if *console {
		o.Console = os.Stderr
	}
	if flags.NArg() == 0 {
		return o, 0, nil, errors.New("no command after the flags\n" + usage)
	}
	return o, *timeout, flags.Args(), nil
}
