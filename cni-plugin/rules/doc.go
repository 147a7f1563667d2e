// Package rules is the packet rules of the CNI plug-in: one nftables table
// whose chains are written once, and whose sets and maps get a few elements
// per pod. It speaks netlink to the kernel and starts no process.
package rules

// MarkBit is the bit of the packet mark by which the first packet of a
// connection to a host port is told in postrouting: the reference portmap's.
const MarkBit = 13
