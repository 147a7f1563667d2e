// Command mkimages writes the real images of the demo into a folder and prints
// their paths. What is there already is kept.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/varve-project/varve/test/images"
)

func main() {
	out := flag.String("o", ".", "folder for the archives")
	only := flag.String("only", "", "busybox or debian; empty is both")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := write(ctx, *out, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mkimages:", err)
		os.Exit(1)
	}
}

func write(ctx context.Context, out, only string) error {
	makers := []struct {
		name string
		make func(context.Context, string) (string, error)
	}{{"busybox", images.Busybox}, {"debian", images.Debian}}
	found := only == ""
	for _, m := range makers {
		if only != "" && only != m.name {
			continue
		}
		found = true
		path, err := m.make(ctx, out)
		if err != nil {
			return err
		}
		fmt.Println(path)
	}
	if !found {
		return fmt.Errorf("-only %q: want busybox or debian", only)
	}
	return nil
}
