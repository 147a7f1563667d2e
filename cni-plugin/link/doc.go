// Package link is the kernel boundary of the CNI plug-in for links, addresses,
// routes, queueing disciplines and sysctls: one netlink socket in the host's
// namespace (Host) and one in the pod's (Pod).
//
// It knows nothing of configurations, leases or CNI. Everything it makes is
// named by its caller, and it deletes a link only by name and alias together.
package link
