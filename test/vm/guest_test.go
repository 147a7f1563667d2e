package vm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGuest looks at the machine from inside.
func TestGuest(t *testing.T) {
	m := machine(t)
	equal(t, "disks in order", sh(t, m, "cat /sys/block/vda/size /sys/block/vdb/size"), "131072\n196608")
	equal(t, "bytes of an empty disk", sh(t, m, "tr -d '\\0' </dev/vdb | wc -c"), "0")
	equal(t, "user", sh(t, m, "id -u"), "0")
	equal(t, "host name", sh(t, m, "uname -n"), "varve-vm")
	equal(t, "cgroup", sh(t, m, "stat -fc %T /sys/fs/cgroup"), "cgroup2fs")
	controllers := strings.Fields(sh(t, m, "cat /sys/fs/cgroup/cgroup.subtree_control"))
	for _, want := range []string{"cpu", "cpuset", "io", "memory", "pids"} {
		if !strings.Contains(strings.Join(controllers, " "), want) {
			t.Errorf("controller %s is not enabled: %v", want, controllers)
		}
	}
	sh(t, m, "mkdir /sys/fs/cgroup/x; test -e /sys/fs/cgroup/x/memory.max; rmdir /sys/fs/cgroup/x")
	equal(t, "loopback", sh(t, m, "cat /sys/class/net/lo/flags"), "0x9")
	equal(t, "orphans", sh(t, m, "(sleep 0.1 &) ; sleep 1; ps -eo stat= | grep -c ^Z || true"), "0")
	for _, dir := range []string{"/tmp", "/run", "/var/tmp", "/var/lib", "/etc", "/usr", "/dev/shm"} {
		sh(t, m, "echo x >"+dir+"/vm-test && rm "+dir+"/vm-test")
	}
	// What runc does, and what a chroot would forbid.
	sh(t, m, "unshare -m sh -euc 'mount -t tmpfs x /mnt; mkdir /mnt/old; cd /mnt; pivot_root . old'")
	sh(t, m, "unshare -Ur true")
	if _, err := os.Stat("/etc/vm-test"); err == nil {
		t.Error("the guest wrote to this machine's root")
	}
}

// TestModules asks for what the project's parts need of the kernel, most of it
// by the kernel's own call of modprobe.
func TestModules(t *testing.T) {
	m := machine(t)
	for _, module := range []string{
		"dm-thin-pool", "dm-snapshot", "dm-flakey", "dm-log-writes", "dm-delay", "ext4", "xfs", "btrfs", "bridge", "veth", "vxlan",
		"nf_tables", "nft_masq", "nft_ct", "nft_nat", "br_netfilter", "erofs", "squashfs",
	} {
		sh(t, m, "modprobe "+module)
	}
	sh(t, m, "ip link add v0 type veth peer name v1; ip link add b0 type bridge; ip link del v0; ip link del b0")
	sh(t, m, "nft add table inet vm; nft delete table inet vm")
	sh(t, m, "dmsetup create vm --table '0 8 error'; dmsetup remove vm")
	sh(t, m, "test -c /dev/loop-control; test -c /dev/mapper/control; test -c /dev/fuse; test -c /dev/net/tun")
}

// TestFresh: what programs of this machine keep is not there, and what is
// below the working directory is.
func TestFresh(t *testing.T) {
	m := machine(t)
	equal(t, "a file of /tmp", sh(t, m, "test -e "+program+" && echo there || echo hidden"), "hidden")
	dir, err := filepath.Abs("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	sh(t, m, "test -s "+dir)
}
