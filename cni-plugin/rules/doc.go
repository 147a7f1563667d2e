// Package rules is the packet rules of the CNI plug-in: one nftables table
// (inet varve) whose chains are written once, and whose maps get a few
// elements per pod. It speaks netlink to the kernel and starts no process. It
// knows nothing of leases; who may have what is its caller's business.
//
// The chains, in the order a packet meets them:
//
//	lo-out, lo6-out  output, raw: from loopback to loopback by a host port? then
//	                 from the gateway's address (see loopback.go)
//	prerouting       dstnat - 10: to one of the host's addresses? then hostports
//	output           dstnat - 10: the same for the host's own packets
//	forward          filter - 10: from a pod, an answer to one, or rewritten to
//	                 lead to one: mark for the foreign chains that drop
//	hostports        address and port looked up: mark, rewrite the destination
//	postrouting      srcnat - 10: marked? then marked; from a pod? its network's
//	marked           by pod; from a gateway's address: masquerade
//	net-HASH         one per network: masquerade what leaves its subnets
//	lo-in, lo6-in    input, srcnat + 10: the answer back to the loopback address
//
// The priorities are ten before the standard ones, at which Docker and
// kube-proxy sit, so that a host port is found before a service of theirs.
package rules

// MarkBit is the bit of the packet mark by which the first packet of a
// connection to a host port is told in postrouting: the reference portmap's.
const MarkBit = 13

const mark = 1 << MarkBit

// ForwardBit is the bit of the packet mark by which a foreign FORWARD chain
// that drops by default knows what to accept (cni-plugin/firewall): what a pod
// sends, what answers it, and what was sent to a published port or service.
const ForwardBit = 12
