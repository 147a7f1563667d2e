package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// complete fills in the defaults and refuses what cannot be.
func (o Options) complete() (Options, error) {
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if o.Memory == 0 {
		o.Memory = defaultMemory
	}
	if o.CPUs == 0 {
		o.CPUs = defaultCPUs
	}
	if o.BootTimeout == 0 {
		o.BootTimeout = defaultBoot
	}
	if o.KVMTimeout == 0 {
		o.KVMTimeout = defaultKVM
	}
	if o.Cgroup == "" {
		o.Cgroup = "v2"
	}
	if o.Accel == "" {
		o.Accel = AccelAuto
	}
	if err := o.check(); err != nil {
		return o, err
	}
	// Commands run in this process's working directory, so it must be there.
	here, err := os.Getwd()
	if err != nil {
		return o, err
	}
	o.Show(here)
	for i, dir := range o.Shares {
		clean, err := folder(dir)
		if err != nil {
			return o, fmt.Errorf("share %s: %w", dir, err)
		}
		o.Shares[i] = clean
	}
	return o.locate()
}

func (o Options) check() error {
	switch {
	case o.Memory < 256<<20:
		return fmt.Errorf("memory %d bytes: the guest needs at least 256 MiB", o.Memory)
	case o.CPUs < 1:
		return fmt.Errorf("cpus %d: at least 1", o.CPUs)
	case o.Cgroup != "v1" && o.Cgroup != "v2":
		return fmt.Errorf("cgroup %q: v1 or v2", o.Cgroup)
	case o.Accel != AccelAuto && o.Accel != AccelKVM && o.Accel != AccelTCG:
		return fmt.Errorf("accel %q: auto, kvm or tcg", o.Accel)
	case o.Tmp < 0 || o.Tmp > 0 && o.Tmp < 16<<20:
		return fmt.Errorf("tmp %d bytes: a file system needs at least 16 MiB, and 0 is none", o.Tmp)
	case len(o.Disks) > 20:
		return fmt.Errorf("%d disks: at most 20 have a slot", len(o.Disks))
	}
	return nil
}

// locate finds the program and the cache in the repository.
func (o Options) locate() (Options, error) {
	if o.Program != "" && o.Cache != "" {
		return o, nil
	}
	root, err := repository()
	if err != nil {
		return o, err
	}
	if o.Program == "" {
		o.Program = filepath.Join(root, "bin", "vm")
	}
	if o.Cache == "" {
		o.Cache = filepath.Join(root, "build", "vm")
	}
	if _, err := os.Stat(o.Program); err != nil {
		return o, fmt.Errorf("%w; run: make vm", err)
	}
	return o, nil
}

func folder(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", errors.New("not a folder")
	}
	return filepath.EvalSymlinks(path)
}
