package leak

// Kind is one kind of kernel object.
type Kind string

// The kinds, in the order in which they are reported.
const (
	Mount     Kind = "mounts"
	Namespace Kind = "namespaces"
	Link      Kind = "links"
	Loop      Kind = "loops"
	NFT       Kind = "nft rules"
	Cgroup    Kind = "cgroups"
	Process   Kind = "processes"
)

// Kinds lists every kind in the order in which they are reported.
func Kinds() []Kind {
	return []Kind{Mount, Namespace, Link, Loop, NFT, Cgroup, Process}
}
