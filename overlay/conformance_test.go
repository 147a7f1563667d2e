package overlay_test

import (
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/varve-project/varve/overlay"
	"github.com/varve-project/varve/snapshotter"
	"github.com/varve-project/varve/snapshotter/conformance"
)

func TestConformance(t *testing.T) {
	needsRoot(t)
	able, err := overlay.Detect(t.TempDir(), overlay.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	conformance.Run(t, able, func(t testing.TB) *conformance.Subject {
		return subject(t, filepath.Join(t.TempDir(), "root"), nil)
	})
}

var instances atomic.Uint32

// subject serves a driver on root, behind wrap where there is one.
func subject(t testing.TB, root string, wrap func(snapshotter.Driver) snapshotter.Driver) *conformance.Subject {
	t.Helper()
	return subjectAs(t, root, false, wrap)
}

func subjectAs(t testing.TB, root string, streaming bool, wrap func(snapshotter.Driver) snapshotter.Driver) *conformance.Subject {
	t.Helper()
	config := overlay.DefaultConfig()
	// Subjects run side by side on one file system, each with ids of its own.
	config.ProjectIDFirst += 1000 * instances.Add(1)
	config.ProjectIDLast = config.ProjectIDFirst + 999
	s := serveWrapped(t, root, config, streaming, wrap)
	return &conformance.Subject{
		Conn: s.conn, Address: s.address, Capabilities: s.driver.Capabilities(),
		Held: func(t testing.TB) int64 { return files(t, root) },
	}
}

// files counts what is below root.
func files(t testing.TB, root string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(root, func(_ string, _ fs.DirEntry, err error) error { n++; return err })
	if err != nil {
		t.Fatal(err)
	}
	return n
}
