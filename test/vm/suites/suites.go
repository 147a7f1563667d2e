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
	// Flags are of `vm run`: disks, memory, udev, cgroup.
	Flags []string
	// Timeout is for one package, tests only. It is for a hang: a machine that
	// is emulated and shared takes several times as long as a quiet one.
	Timeout time.Duration
}

// All is the table. A new row is one line. What runs in a minute or two here
// is a sample where the whole would take an hour: emulation is slow, and the
// whole runs outside.
var All = []Suite{
	{"quota", []string{"./overlay"}, "^TestQuota", []string{"--tmp=4G"}, 20 * time.Minute},
	{"cgroup v2", []string{"./test/leak"}, "", []string{"--tmp=1G"}, 10 * time.Minute},
	{"cgroup v2", []string{"./runtime/doctor"}, "^Test(Cgroup|Controller|KernelIsSound)", []string{"--tmp=1G"}, 10 * time.Minute},
	{"cgroup v2", []string{"./test/e2e/pod"}, "^Test(WholePod|Restart)$", []string{"--tmp=4G"}, 20 * time.Minute},
	{"devmapper", []string{"./devmapper"}, "^Test(Counts|CommitWhileMounted|Grow|AfterReboot|DirtyJournal|FileSystemLabel|ManyAtOnce|AuditFindsBothWays|Restart|Measure)$", []string{"--disk=6G", "--disk=512M"}, 15 * time.Minute},
	{"devmapper ext4", []string{"./devmapper"}, "^(TestContainerdSuite|TestConformance)$/^ext4$", []string{"--disk=6G", "--disk=512M"}, 40 * time.Minute},
	{"devmapper xfs", []string{"./devmapper"}, "^(TestContainerdSuite|TestConformance)$/^xfs$", []string{"--disk=6G", "--disk=512M"}, 40 * time.Minute},
	{"devmapper crash", []string{"./test/crash"}, "^TestDevmapper$", []string{"--disk=6G", "--disk=512M"}, 30 * time.Minute},
}
