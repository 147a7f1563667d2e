package devmapper_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/log"

	"github.com/varve-project/varve/devmapper/pool"
)

// The tests of this package run on a bare pool on two blank disks of a virtual
// machine:
//
//	go test -exec 'bin/vm run --disk 6G --disk 1G --timeout 10m --' ./devmapper/
const dataDisk, metadataDisk = "/dev/vda", "/dev/vdb"

const mib = 1 << 20

// makePool makes the pool once for all tests of the process.
var makePool = sync.OnceValue(func() error {
	for _, disk := range []string{dataDisk, metadataDisk} {
		if err := mustBeBlank(disk); err != nil {
			return err
		}
	}
	return pool.FormatCatalog(context.Background(), pool.Identity{
		UUID: pool.NewUUID(), Node: dataDisk, Bytes: 64 * mib, BlockBytes: 64 << 10,
	})
})

// mustBeBlank keeps the tests off the disks of a machine that they happen to
// run on.
func mustBeBlank(disk string) error {
	f, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, mib)
	if _, err := io.ReadFull(f, head); err != nil {
		return err
	}
	for _, b := range head {
		if b != 0 {
			return errors.New(disk + " is not blank; these tests take blank disks only")
		}
	}
	return nil
}

// needsPool skips where the kernel has no device-mapper, which is anywhere but
// in the virtual machine.
func needsPool(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	misc, err := os.ReadFile("/proc/misc")
	must(t, err)
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	if !strings.Contains(string(misc), "device-mapper") || !strings.Contains(string(mounts), " 9p ") {
		t.Skip("kernel lacks: device-mapper with disks for tests; run these with bin/vm")
	}
}

// openPool opens the pool; its directory is new each time, for all that is to
// outlive a start is on the disk.
func openPool(t testing.TB) (p *pool.Pool, dir string) {
	t.Helper()
	must(t, makePool())
	dir, err := os.MkdirTemp("", "vd")
	must(t, err)
	p, err = pool.Open(context.Background(), poolConfig(), pool.Options{Directory: dir, Log: log.L})
	must(t, err)
	return p, dir
}

// leave removes the directory of a pool that is closed. What is mounted there
// still is found by that.
func leave(dir string) error {
	err := errors.Join(os.Remove(filepath.Join(dir, "pool.lock")), os.Remove(filepath.Join(dir, "catalog")))
	return errors.Join(err, os.Remove(dir))
}

func poolConfig() pool.Config {
	return pool.Config{
		DataDevice: dataDisk, MetadataDevice: metadataDisk, OutOfSpace: "error",
		MinFreeData: 5, MinFreeMetadata: 5, DiscardOnDelete: true,
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
