// Command toy keeps names in a folder, one file each, and beside each a file
// that stands for what it takes of the node. It does so rightly, or with the
// fault that TOY_FAULT names, so that a test can see the harness find it.
//
//	toy DIR put NAME    record, then take
//	toy DIR rm NAME     give back, then forget
//	toy DIR repair      give back what no record names
//	toy DIR ls
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/varve-project/varve/internal/failpoint"
)

func main() {
	dir, call, fault := os.Args[1], os.Args[2], os.Getenv("TOY_FAULT")
	records, taken := filepath.Join(dir, "records"), filepath.Join(dir, "taken")
	must(os.MkdirAll(records, 0o700))
	must(os.MkdirAll(taken, 0o700))
	name := ""
	if len(os.Args) > 3 {
		name = os.Args[3]
	}
	record, take := filepath.Join(records, name), filepath.Join(taken, name)
	switch call {
	case "put":
		if fault == "stuck" {
			// A half-done put is taken for another's.
			if _, err := os.Stat(take); err == nil {
				must(fmt.Errorf("%s is taken", name))
			}
		}
		if fault == "effect-first" {
			step("toy.put.take", func() { must(os.WriteFile(take, nil, 0o600)) })
			step("toy.put.record", func() { must(os.WriteFile(record, nil, 0o600)) })
			return
		}
		step("toy.put.record", func() { must(os.WriteFile(record, nil, 0o600)) })
		step("toy.put.take", func() { must(os.WriteFile(take, nil, 0o600)) })
	case "rm":
		if fault == "loses" {
			must(os.RemoveAll(records)) // everybody's
			must(os.MkdirAll(records, 0o700))
		}
		step("toy.rm.take", func() { must(os.RemoveAll(take)) })
		step("toy.rm.record", func() { must(os.RemoveAll(record)) })
	case "silent":
		must(os.WriteFile(record, nil, 0o600))
		must(os.WriteFile(take, nil, 0o600))
	case "repair":
		all, err := os.ReadDir(taken)
		must(err)
		for _, e := range all {
			if _, err := os.Stat(filepath.Join(records, e.Name())); err != nil && fault != "effect-first" {
				must(os.Remove(filepath.Join(taken, e.Name())))
			}
		}
	case "ls":
		all, err := os.ReadDir(records)
		must(err)
		for _, e := range all {
			fmt.Println(e.Name())
		}
	}
}

// step does one effect between its two points.
func step(name string, do func()) {
	failpoint.Hit(name + ".before")
	do()
	failpoint.Hit(name + ".after")
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "toy:", err)
		os.Exit(1)
	}
}
