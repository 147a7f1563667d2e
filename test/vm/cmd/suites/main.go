// Command suites runs the tests that need a virtual machine and writes what
// `go test -json` would:
//
//	go run ./test/vm/cmd/suites [NAME]...
//
// Without a name it runs all suites of the package test/vm/suites.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/varve-project/varve/test/built"
	"github.com/varve-project/varve/test/vm/suites"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "suites:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	root, err := built.Root()
	if err != nil {
		return err
	}
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	out := &lines{to: os.Stdout}
	for _, suite := range chosen {
		group.Go(func() error {
			start := time.Now()
			if err := suite.Run(ctx, root, out, os.Stderr); err != nil {
				return fmt.Errorf("suite %s: %w", suite.Name, err)
			}
			fmt.Fprintf(os.Stderr, "vm: suite %s %s took %v\n", suite.Name, strings.Join(suite.Packages, " "), time.Since(start).Round(time.Second))
			return nil
		})
	}
	return group.Wait()
}

// atOnce is how many machines run side by side. One alone waits for its disk
// and its own boot most of the time.
const atOnce = 2

// lines lets several suites write whole lines, one Write each.
type lines struct {
	mu sync.Mutex
	to io.Writer
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(line)
}

func choose(names []string) ([]suites.Suite, error) {
	if len(names) == 0 {
		return suites.All, nil
	}
	var chosen []suites.Suite
	for _, name := range names {
		before := len(chosen)
		var known []string
		for _, suite := range suites.All {
			if suite.Name == name {
				chosen = append(chosen, suite)
			}
			if !slices.Contains(known, suite.Name) {
				known = append(known, suite.Name)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("no suite %q; there are: %s", name, strings.Join(known, ", "))
		}
	}
	return chosen, nil
}
