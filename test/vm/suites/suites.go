// Package suites is the list of what `make test-vm` runs in virtual machines,
// and the running of it.
//
// Everything here is an ordinary test that `go test` runs as well: on a
// machine whose kernel lacks what it needs it skips and says so, and here the
// same test runs on the distribution's kernel, which has it.
package suites

import "time"

// Suite is one row: packages, each of which gets a machine of its own.
type Suite struct {
	// Name is printed beside the package, and chosen by on the command line;
	// rows may share one.
	Name string
	// Packages are as for go test, relative to the repository.
	Packages []string
	// Tests picks tests, as of go test; empty is all.
	Tests string
	// Skip leaves tests out, as of go test: what another row runs already, and
	// what would take a quarter of an hour under emulation.
	Skip string
	// Tags are build tags.
	Tags string
	// Flags are of `vm run`: disks, memory, udev, cgroup.
	Flags []string
	// Timeout is for one package, tests only. It is for a hang: a machine that
	// is emulated and shared takes several times as long as a quiet one.
	Timeout time.Duration
}

// All is the table, the longest first; a new row is one line. Emulation is
// slow, so a row is a sample where the whole would take an hour and runs
// outside as well; xfs leaves out what its own code has no part in and the row
// of ext4 runs: churns of the server and of the records.
var All = []Suite{
	{Name: "devmapper ext4", Packages: []string{"./devmapper"}, Tests: "^(TestContainerdSuite|TestConformance)$/^ext4$", Flags: []string{"--disk=6G", "--disk=512M"}, Timeout: 40 * time.Minute},
	{Name: "demo", Packages: []string{"./test/e2e/demo"}, Tests: "^TestOnDevmapper$", Flags: []string{"--disk=8G", "--tmp=6G"}, Timeout: 30 * time.Minute},
	{Name: "pool", Packages: []string{"./devmapper/pool"}, Skip: "^TestKilled$", Timeout: 30 * time.Minute},
	{Name: "pool commands", Packages: []string{"./cmd/varve-devmapper"}, Tests: "^TestPool", Skip: "^TestPoolKilled$/^disk$|^TestPoolLife$/^(group|thin pool)$", Timeout: 30 * time.Minute},
	{Name: "devmapper xfs", Packages: []string{"./devmapper"}, Tests: "^(TestContainerdSuite|TestConformance)$/^xfs$", Skip: "/^xfs$/(128LayersMount|Rename|200 layers|a client that .*|many keys at once .*|a long list is whole|Prepare and Remove of one key .*)$", Flags: []string{"--disk=6G", "--disk=512M"}, Timeout: 40 * time.Minute},
	{Name: "devmapper crash", Packages: []string{"./test/crash"}, Tests: "^TestDevmapper$", Flags: []string{"--disk=6G", "--disk=512M"}, Timeout: 30 * time.Minute},
	{Name: "pool crash", Packages: []string{"./devmapper/pool"}, Tests: "^TestKilled$", Tags: "failpoint", Timeout: 30 * time.Minute},
	{Name: "cgroup v2", Packages: []string{"./test/e2e/pod"}, Tests: "^Test(WholePod|Restart)$", Flags: []string{"--tmp=4G"}, Timeout: 20 * time.Minute},
	{Name: "quota", Packages: []string{"./overlay"}, Tests: "^TestQuota", Flags: []string{"--tmp=4G"}, Timeout: 20 * time.Minute},
	{Name: "devmapper", Packages: []string{"./devmapper"}, Tests: "^Test(Counts|CommitWhileMounted|Grow|AfterReboot|DirtyJournal|FileSystemLabel|ManyAtOnce|AuditFindsBothWays|Restart|Measure)$", Flags: []string{"--disk=6G", "--disk=512M"}, Timeout: 15 * time.Minute},
	{Name: "ioctls", Packages: []string{"./devmapper/dm"}, Flags: []string{"--disk=1G"}, Timeout: 10 * time.Minute},
	{Name: "cgroup v2", Packages: []string{"./test/leak"}, Flags: []string{"--tmp=1G"}, Timeout: 10 * time.Minute},
	{Name: "cgroup v2", Packages: []string{"./runtime/doctor"}, Tests: "^Test(Cgroup|Controller|KernelIsSound)", Flags: []string{"--tmp=1G"}, Timeout: 10 * time.Minute},
}
