package image_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/varve-project/varve/runtime/image"
	"github.com/varve-project/varve/test/images"
)

// BenchmarkWarm is the image part of starting a container whose image is
// unpacked, as a new process does it: open the store, find the image, make
// the root.
func BenchmarkWarm(b *testing.B) {
	n := newNode(b)
	s := n.open(b)
	load(b, s, archive(b, layered("example.org/layered:1", images.Gzip)))
	ctx := context.Background()
	var keys []string
	var opened, got, prepared time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		fresh, err := image.Open(ctx, n.options)
		if err != nil {
			b.Fatal(err)
		}
		opened += time.Since(start)
		img, err := fresh.Get(ctx, "example.org/layered:1")
		if err != nil {
			b.Fatal(err)
		}
		got += time.Since(start)
		key := fmt.Sprint("bench", i)
		if _, err := fresh.Prepare(ctx, key, img, image.PrepareOptions{}); err != nil {
			b.Fatal(err)
		}
		prepared += time.Since(start)
		keys = append(keys, key)
		_ = fresh.Close()
	}
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(len(keys)) }
	b.ReportMetric(per(opened), "open-us")
	b.ReportMetric(per(got-opened), "get-us")
	b.ReportMetric(per(prepared-got), "prepare-us")
	for _, key := range keys {
		if err := s.Release(ctx, key); err != nil {
			b.Fatal(err)
		}
	}
}
