package arrows

// Rule bans imports. Paths are relative to the module ("overlay" is
// MODULE/overlay and all below it); a path with a dot in its first element is
// another module's ("k8s.io/client-go").
type Rule struct {
	// From is who must not import: the folder and all below it.
	From string
	// To is what must not be imported: folders and all below them.
	To []string
	// Except are folders below To that may be imported all the same.
	Except []string
	// Deep bans the import also through others, for what slows a start or
	// must not be linked at all.
	Deep bool
	// Why is the reason, for whoever meets the ban.
	Why string
}

// Rules are the arrows of the house.
var Rules = []Rule{
	{
		From: "overlay", To: []string{"devmapper", "aufs-compat", "snapshotter/server", "snapshotter/command", "snapshotter/conformance", "cmd", "runtime", "cni-plugin", "csi-driver"},
		Why: "a driver knows neither how it is served nor the other drivers, so that each can be read, tested and replaced alone",
	},
	{
		From: "devmapper", To: []string{"overlay", "aufs-compat", "snapshotter/server", "snapshotter/command", "snapshotter/conformance", "cmd", "runtime", "cni-plugin", "csi-driver"},
		Why: "a driver knows neither how it is served nor the other drivers, so that each can be read, tested and replaced alone",
	},
	{
		From: "aufs-compat", To: []string{"overlay", "devmapper", "snapshotter/server", "snapshotter/command", "snapshotter/conformance", "cmd", "runtime", "cni-plugin", "csi-driver"},
		Why: "a driver knows neither how it is served nor the other drivers, so that each can be read, tested and replaced alone",
	},
	{
		From: "snapshotter", To: []string{"overlay", "devmapper", "aufs-compat", "cmd", "runtime", "cni-plugin", "csi-driver"},
		Why: "the server serves any driver; one that knows its drivers would be three servers in one",
	},
	{
		From: "csi-driver", To: []string{"overlay", "devmapper", "aufs-compat", "snapshotter", "cmd", "runtime", "cni-plugin"},
		Except: []string{"devmapper/pool"},
		Why:    "volumes and images share the thin pool's code and nothing else: either can be installed without the other",
	},
	{
		From: "cni-plugin", To: []string{"overlay", "devmapper", "aufs-compat", "snapshotter", "cmd", "runtime", "csi-driver"},
		Why: "the network plug-in is used by runtimes that have none of our storage",
	},
	{
		From: "runtime", To: []string{"overlay", "devmapper", "aufs-compat", "snapshotter", "cni-plugin", "csi-driver", "cmd"},
		Why: "the reference runtime speaks gRPC, CNI exec and CSI only; an import of a plug-in would let it do what other runtimes cannot",
	},
	{
		From: "internal", To: []string{"overlay", "devmapper", "aufs-compat", "snapshotter", "cni-plugin", "csi-driver", "runtime", "cmd", "deploy"},
		Why: "the ground floor stands under all parts and on none of them",
	},
	{
		From: "", To: []string{"test"}, Except: nil,
		Why: "what only tests need must not be linked into what users run",
	},
	{
		From: "cmd/varve-cni", Deep: true,
		To: []string{
			"google.golang.org/grpc", "k8s.io/client-go", "k8s.io/api", "go.etcd.io/etcd", "go.etcd.io/bbolt",
			"github.com/prometheus", "github.com/spf13/cobra", "github.com/containerd/containerd", "github.com/sirupsen/logrus",
			"os/exec",
		},
		// skel and libcni's invoke package bring os/exec in for delegation;
		// that our own packages never call it is the next rule's business.
		Except: []string{"os/exec"},
		Why:    "the plug-in is a new process for every pod: whatever it links is paid for at every start",
	},
	{
		From: "cni-plugin/attach", To: []string{"os/exec"},
		Why: "attaching a pod starts no child process: forks are what makes the reference chain slow",
	},
	{
		From: "cni-plugin/rules", To: []string{"os/exec"},
		Why: "rules go to the kernel by netlink; a missing iptables or nft binary must not matter",
	},
	{
		From: "cni-plugin/ipam", To: []string{"os/exec"},
		Why: "a lease is a file; no process is needed to write one",
	},
	{
		From: "overlay", To: []string{"os/exec"},
		Why: "no child process on any call of the overlay snapshotter",
	},
	{
		From: "devmapper/dm", To: []string{"os/exec", "devmapper/pool", "devmapper/format", "snapshotter"},
		Why: "the ioctls are the floor: they know neither pools nor snapshots, and dmsetup is what they replace",
	},
	{
		From: "devmapper/pool", To: []string{"snapshotter", "devmapper/format"},
		Why: "a pool does not know what its owner keeps on it: the CSI driver owns one as well",
	},
	{
		From: "devmapper/pool/thinmeta", To: []string{"os/exec", "devmapper/dm"},
		Why: "the metadata is read as bytes, so that it is tested without a kernel that has the target",
	},
	{
		From: "devmapper/pool/guard", To: []string{"os/exec", "devmapper/dm", "devmapper/pool/setup"},
		Why: "what to do about a full pool is decided on values; who asks the kernel and calls LVM is the pool",
	},
	{
		From: "devmapper/superblock", To: []string{"os/exec", "devmapper/dm", "devmapper/pool"},
		Why: "a superblock is bytes of a file or device, whoever made it",
	},
}
