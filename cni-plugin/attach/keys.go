package attach

// Treatment is what becomes of a configuration key.
type Treatment string

const (
	// Served: the key does what the reference plug-in's does.
	Served Treatment = "served"
	// Refused: any value other than the empty one (false, 0, "", [], {},
	// null) is an error that names the key.
	Refused Treatment = "refused"
)

// KeyInfo is one key of the configuration.
type KeyInfo struct {
	// Path is the key with the objects around it; [] stands for a list.
	Path string
	// Of names who defines it: the CNI spec, a reference plug-in, or varve.
	Of string
	// Treatment is Served or Refused.
	Treatment Treatment
	// Text says what it does, or why it is refused and what to do instead.
	Text string
}

// Keys is every key that the plug-in knows. One that is not here is an error
// that names it. docs/cni.md shows the same table; a test compares them.
var Keys = []KeyInfo{
	{"cniVersion", "spec", Served, "0.3.0, 0.3.1, 0.4.0, 1.0.0 or 1.1.0"},
	{"name", "spec", Served, "the network's name: leases of one network are never touched for another"},
	{"type", "spec", Served, "`varve-cni`"},
	{"capabilities", "spec", Served, "read by the runtime"},
	{"prevResult", "spec", Served, "ADD answers with it and its own interfaces, addresses and routes behind it"},
	{"dns", "spec", Served, "answered as it stands; wins over `ipam.resolvConf`"},
	{"dns.nameservers", "spec", Served, "list of addresses"},
	{"dns.domain", "spec", Served, "local domain"},
	{"dns.search", "spec", Served, "search list"},
	{"dns.options", "spec", Served, "resolver options"},
	{"args", "spec", Served, "only `args.cni` is read; other conventions' objects are not ours"},
	{"args.cni", "spec", Served, "arguments of the network configuration"},
	{"args.cni.ips", "host-local", Served, "addresses asked for by name"},
	{"args.cni.mac", "bridge", Served, "MAC address of the container's interface"},
	{"args.cni.labels", "spec", Served, "free-form labels by convention; nothing depends on them"},
	{"runtimeConfig", "spec", Served, "what the runtime sends for the capabilities"},
	{"runtimeConfig.portMappings", "portmap", Served, "host ports"},
	{"runtimeConfig.portMappings[].hostPort", "portmap", Served, "1 to 65535"},
	{"runtimeConfig.portMappings[].containerPort", "portmap", Served, "1 to 65535"},
	{"runtimeConfig.portMappings[].protocol", "portmap", Served, "tcp, udp or sctp, in any case; tcp when absent"},
	{"runtimeConfig.portMappings[].hostIP", "portmap", Served, "one address of the host; absent, 0.0.0.0 or :: mean every one of its family (absent: of both)"},
	{"runtimeConfig.bandwidth", "bandwidth", Served, "the container's traffic limits"},
	{"runtimeConfig.bandwidth.ingressRate", "bandwidth", Served, "bits per second towards the container"},
	{"runtimeConfig.bandwidth.ingressBurst", "bandwidth", Served, "bits"},
	{"runtimeConfig.bandwidth.egressRate", "bandwidth", Served, "bits per second from the container"},
	{"runtimeConfig.bandwidth.egressBurst", "bandwidth", Served, "bits"},
	{"runtimeConfig.ips", "host-local", Served, "addresses asked for by name, with or without a prefix length"},
	{"runtimeConfig.mac", "bridge", Served, "MAC address of the container's interface"},
	{"runtimeConfig.ipRanges", "host-local", Served, "range sets, put before `ipam.ranges`"},
	{"runtimeConfig.ipRanges[][].subnet", "host-local", Served, "as in `ipam.ranges`"},
	{"runtimeConfig.ipRanges[][].rangeStart", "host-local", Served, "as in `ipam.ranges`"},
	{"runtimeConfig.ipRanges[][].rangeEnd", "host-local", Served, "as in `ipam.ranges`"},
	{"runtimeConfig.ipRanges[][].gateway", "host-local", Served, "as in `ipam.ranges`"},
	{"runtimeConfig.dns", "spec", Served, "answered in place of `dns`"},
	{"runtimeConfig.dns.servers", "spec", Served, "the conventions' name for nameservers"},
	{"runtimeConfig.dns.searches", "spec", Served, "the conventions' name for search"},
	{"runtimeConfig.dns.nameservers", "spec", Served, "see `dns`"},
	{"runtimeConfig.dns.search", "spec", Served, "see `dns`"},
	{"runtimeConfig.dns.domain", "spec", Served, "see `dns`"},
	{"runtimeConfig.dns.options", "spec", Served, "see `dns`"},
	{"runtimeConfig.aliases", "dnsname", Refused, "there is no name service here to publish them; remove the capability `aliases`"},
	{"cni.dev/valid-attachments", "spec", Served, "GC: what stays; a missing key frees nothing"},
	{"cni.dev/valid-attachments[].containerID", "spec", Served, "container"},
	{"cni.dev/valid-attachments[].ifname", "spec", Served, "interface"},
	{"cni.dev/attachments[].containerID", "libcni", Served, "container"},
	{"cni.dev/attachments[].ifname", "libcni", Served, "interface"},
	{"cni.dev/attachments", "libcni", Served, "GC: the same list under libcni's older name; the two must agree"},

	{"bridge", "bridge", Served, "the bridge's name, default `cni0`; made if absent, adopted if it is a bridge"},
	{"isGateway", "bridge", Served, "the bridge gets the ranges' gateway addresses, and forwarding is on"},
	{"isDefaultGateway", "bridge", Served, "isGateway, and the container's default routes"},
	{"forceAddress", "bridge", Served, "another address of the bridge in the way is replaced instead of refused"},
	{"ipMasq", "bridge", Served, "traffic from the container that leaves its subnets is masqueraded"},
	{"ipMasqBackend", "bridge", Served, "`nftables`, the only one here; `iptables` is refused"},
	{"mtu", "bridge", Served, "of bridge and veth pair; 0: an existing bridge's, else that of the default route's link"},
	{"hairpinMode", "bridge", Served, "the bridge port sends frames back where they came from"},
	{"promiscMode", "bridge", Served, "the bridge is promiscuous"},
	{"portIsolation", "bridge", Served, "isolated bridge ports do not see each other"},
	{"enabledad", "bridge", Served, "IPv6 duplicate address detection in the container (it costs a second or more; leases are unique without it)"},
	{"vlan", "bridge", Refused, "bridges here have no VLANs; use a bridge per VLAN"},
	{"vlanTrunk", "bridge", Refused, "bridges here have no VLANs"},
	{"preserveDefaultVlan", "bridge", Refused, "bridges here have no VLANs"},
	{"macspoofchk", "bridge", Refused, "not implemented; the reference bridge plug-in has it"},
	{"disableContainerInterface", "bridge", Refused, "the container's interface is always brought up"},

	{"ipam", "spec", Served, "absent or {}: the interface has no addresses"},
	{"ipam.type", "host-local", Served, "`host-local` or absent; our own store serves it. Any other type is refused"},
	{"ipam.name", "host-local", Served, "overwritten by the network's name there, so without effect in both"},
	{"ipam.ranges", "host-local", Served, "list of range sets; one address is leased out of each"},
	{"ipam.ranges[][].subnet", "host-local", Served, "CIDR"},
	{"ipam.ranges[][].rangeStart", "host-local", Served, "first address"},
	{"ipam.ranges[][].rangeEnd", "host-local", Served, "last address"},
	{"ipam.ranges[][].gateway", "host-local", Served, "default: the first address of the subnet"},
	{"ipam.subnet", "host-local", Served, "a range set of one range, before `ranges`"},
	{"ipam.rangeStart", "host-local", Served, "of `ipam.subnet`"},
	{"ipam.rangeEnd", "host-local", Served, "of `ipam.subnet`"},
	{"ipam.gateway", "host-local", Served, "of `ipam.subnet`"},
	{"ipam.routes", "host-local", Served, "routes of the container"},
	{"ipam.routes[].dst", "spec", Served, "CIDR"},
	{"ipam.routes[].gw", "spec", Served, "default: the gateway of the range of its family"},
	{"ipam.routes[].mtu", "spec", Served, "1.1.0"},
	{"ipam.routes[].advmss", "spec", Served, "1.1.0"},
	{"ipam.routes[].priority", "spec", Served, "1.1.0"},
	{"ipam.routes[].table", "spec", Served, "1.1.0"},
	{"ipam.routes[].scope", "spec", Served, "1.1.0"},
	{"ipam.dataDir", "host-local", Served, "folder of the lease store, default /var/lib/varve/cni; absolute"},
	{"ipam.resolvConf", "host-local", Served, "file in resolv.conf(5) form, answered as `dns`; absolute"},
	{"ipam.restSeconds", "varve", Served, "how long a freed address is withheld, default 30; 0 to 86400"},

	{"snat", "portmap", Served, "default true: host ports work from the host itself and from their own subnet"},
	{"masqAll", "portmap", Served, "everything that comes in by a host port is masqueraded"},
	{"markMasqBit", "portmap", Served, "13, the default, which is the one bit of the packet mark that is used; any other is refused"},
	{"backend", "portmap", Served, "`nftables`, the only one here; `iptables` is refused"},
	{"conditionsV4", "portmap", Refused, "raw rule text; use `hostIP` of a port mapping"},
	{"conditionsV6", "portmap", Refused, "raw rule text; use `hostIP` of a port mapping"},
	{"externalSetMarkChain", "portmap", Refused, "a chain of iptables; the mark is set here"},
	{"ingressRate", "bandwidth", Served, "as in `runtimeConfig.bandwidth`, which it wins over, as in the reference"},
	{"ingressBurst", "bandwidth", Served, "see `ingressRate`"},
	{"egressRate", "bandwidth", Served, "see `ingressRate`"},
	{"egressBurst", "bandwidth", Served, "see `ingressRate`"},

	{"masqExceptions", "varve", Served, "list of CIDRs that are reached without masquerading"},
	{"forwardRule", "varve", Served, "`auto`, the default: a foreign FORWARD chain that drops by default gets one rule for the pods; `none`: it is left as it is"},
	{"daemon", "varve", Refused, "varve-netd is not there yet: configure the network here"},
}
