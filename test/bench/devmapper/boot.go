package devmapper

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/varve-project/varve/test/vm"
)

// The disks, in the order of Boot: a pool's data and metadata each, and one
// whose file system takes the daemons' roots.
const (
	oursData, oursMetadata             = "/dev/vda", "/dev/vdb"
	builtinData, builtinMetadata       = "/dev/vdc", "/dev/vdd"
	rootsDisk                          = "/dev/vde"
	dataBytes, metadataBytes, rootSize = 8 << 30, 512 << 20, 1 << 30
	memory                             = 3 << 30
)

// InGuest is the argument with which the benchmark's main starts itself in the
// virtual machine.
const InGuest = "in-guest"

// Boot boots the machine and runs this very program in it, with InGuest before
// the arguments. The results' folder is shared with it.
func Boot(ctx context.Context, o Options, args []string, out, errs io.Writer) error {
	if err := o.Check(); err != nil {
		return err
	}
	results, err := filepath.Abs(o.Results)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(results, 0o755); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	options := vm.Options{
		Memory: memory, Shares: []string{results},
		Log: func(text string) { fmt.Fprintln(errs, text) },
	}
	for range 2 {
		options.Disks = append(options.Disks, vm.Disk{Size: dataBytes}, vm.Disk{Size: metadataBytes})
	}
	options.Disks = append(options.Disks, vm.Disk{Size: rootSize})
	options.Show(exe)
	options.Show(results)
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("-timeout %v", o.Timeout))
	defer cancel()
	machine, err := vm.Boot(ctx, options)
	if err != nil {
		return err
	}
	defer machine.Close()
	exit, err := machine.Run(ctx, vm.Cmd{Args: append([]string{exe, InGuest}, args...), Stdout: out, Stderr: errs})
	if err != nil {
		return err
	}
	return exit.Err()
}
