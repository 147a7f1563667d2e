package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/varve-project/varve/test/vm"
)

// outputs are flags of a test binary whose files the go command reads
// afterwards; what they name must leave the guest.
var outputs = []string{"-test.coverprofile=", "-test.gocoverdir=", "-test.outputdir="}

// expose shows the guest what the command needs and would not see: the program
// where it lies below a fresh folder, and the folders for coverage, which it
// must be able to write.
func expose(o *vm.Options, argv []string) error {
	if program, err := exec.LookPath(argv[0]); err == nil {
		if program, err = filepath.Abs(program); err != nil {
			return err
		}
		o.Show(program)
	}
	for _, path := range coverage(argv, os.Environ()) {
		path, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		if !slices.Contains(o.Shares, path) {
			o.Shares = append(o.Shares, path)
		}
	}
	return nil
}

// coverage lists the folders that outputs and GOCOVERDIR name.
func coverage(argv, env []string) []string {
	var dirs []string
	for _, arg := range argv[1:] {
		for _, flag := range outputs {
			value, ok := strings.CutPrefix(arg, flag)
			switch {
			case !ok || value == "":
			case flag == "-test.coverprofile=":
				dirs = append(dirs, filepath.Dir(value))
			default:
				dirs = append(dirs, value)
			}
		}
	}
	for _, kv := range env {
		if dir, ok := strings.CutPrefix(kv, "GOCOVERDIR="); ok && dir != "" {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
