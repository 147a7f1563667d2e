// Package vm boots a virtual machine whose root is this machine's own file
// system, read-only, with a kernel of the distribution: one that has
// device-mapper, project quotas and cgroup v2, whatever the machine's own
// kernel lacks. What runs in it sees the same paths, with a fresh /tmp, /run,
// /var and /etc above them, and disks as asked.
//
// As a command it stands before another one:
//
//	bin/vm run [--disk SIZE]... [--tmp SIZE] [--memory SIZE] [--cpus N] [--timeout D]
//	           [--share DIR]... [--keep DIR]... [--cgroup v1|v2] [--udev]
//	           [--accel auto|kvm|tcg] [--console] -- COMMAND [ARG]...
//
// which runs in the guest as root, in the same working directory and with the
// same environment; its standard output, standard error and exit status are
// the command's own. So `go test -exec "$PWD/bin/vm run --disk 4G --"
// ./devmapper/…` runs any test package there. Disks are /dev/vda, /dev/vdb and
// so on, in order, sparse and empty. A --share is writable from inside, and so
// are the folders of go test's coverage. Exit status 125 means that the machine
// itself failed: it did not boot, hung past its timeout, or died; the end of
// its console is printed then.
//
// It owns build/vm of the repository, where the kernel is, and leaves nothing
// else behind: disks have no name on this machine, and the emulator dies with
// the process that started it, however that ends.
//
// As a library it is for tests that pull the plug: Boot, Machine.Run,
// Machine.PowerCut, Machine.Reboot.
package vm
