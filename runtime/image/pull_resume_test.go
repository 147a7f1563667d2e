package image_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/varve-project/varve/runtime/image"
	"github.com/varve-project/varve/test/built"
	"github.com/varve-project/varve/test/images"
)

// stallingRegistry sends two thirds of the layer and then nothing, unless it
// is asked for a part. from is the part asked for.
func stallingRegistry(t *testing.T) (ref string, stalled chan struct{}, from *atomic.Value) {
	stalled, from = make(chan struct{}, 8), &atomic.Value{}
	ref = fakeRegistry(t, bigLayer(), func(w http.ResponseWriter, r *http.Request, _ digest.Digest, path string) bool {
		info, err := os.Stat(path)
		if err != nil || info.Size() < 1<<20 || r.Method != http.MethodGet {
			return false
		}
		if span := r.Header.Get("Range"); span != "" {
			from.Store(span)
			return false
		}
		f, err := os.Open(path)
		if err != nil {
			return false
		}
		defer func() { _ = f.Close() }()
		w.Header().Set("Content-Length", fmt.Sprint(info.Size()))
		_, _ = io.CopyN(w, f, 2<<20)
		w.(http.Flusher).Flush()
		stalled <- struct{}{}
		<-r.Context().Done()
		return true
	})
	return ref, stalled, from
}

// stopHalfway starts a pull, waits until a part is on disk, and ends it.
func stopHalfway(t *testing.T, n *node, cmd *exec.Cmd, stalled chan struct{}, how syscall.Signal) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-stalled
	for range 500 {
		if data, _ := filepath.Glob(filepath.Join(n.options.Root, "content", "ingest", "*", "data")); len(data) == 1 {
			if info, err := os.Stat(data[0]); err == nil && info.Size() >= 1<<20 {
				break
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = cmd.Process.Signal(how)
	_ = cmd.Wait()
}

// A pull that was interrupted or killed is taken up where it was by the next
// one, also when garbage was collected in between.
func TestPullResumesAfter(t *testing.T) {
	for name, how := range map[string]syscall.Signal{"kill": syscall.SIGKILL, "interrupt": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			n, bin := newCLINode(t), built.Path(t, "varve")
			ref, stalled, from := stallingRegistry(t)
			stopHalfway(t, n, n.varve(bin, "image", "pull", ref), stalled, how)
			s := n.open(t)
			other := load(t, s, archive(t, layered("example.org/layered:1", images.Gzip)))
			if err := s.Remove(context.Background(), other.Name); err != nil {
				t.Fatal(err)
			}
			if out, err := n.varve(bin, "image", "pull", ref).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if span, _ := from.Load().(string); span == "" || strings.HasPrefix(span, "bytes=0-") {
				t.Errorf("the second pull asked for the range %q, want one from the middle", span)
			}
			if err := s.Remove(context.Background(), ref); err != nil {
				t.Fatal(err)
			}
			nothingLeft(t, n)
		})
	}
}

// What nobody wants to go on with, prune removes at once.
func TestPruneAfterKilledPull(t *testing.T) {
	n, bin := newCLINode(t), built.Path(t, "varve")
	ref, stalled, _ := stallingRegistry(t)
	stopHalfway(t, n, n.varve(bin, "image", "pull", ref), stalled, syscall.SIGKILL)
	if _, ingests, _ := leftovers(t, n); len(ingests) != 1 {
		t.Fatalf("ingests %v, want the half-written layer", ingests)
	}
	if _, err := n.open(t).Prune(context.Background(), image.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, n)
}
