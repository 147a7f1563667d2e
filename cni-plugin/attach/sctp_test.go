package attach_test

import (
	encoding "encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// rawSCTP is a socket of the namespace's that sends and receives whole SCTP
// packets. The kernel of the tests need not have SCTP sockets for it, only
// connection tracking that knows the protocol.
func rawSCTP(t *testing.T, ns *namespace, v4 bool) (socket int) {
	t.Helper()
	must(t, ns.do(func() (err error) {
		family := unix.AF_INET6
		if v4 {
			family = unix.AF_INET
		}
		socket, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		if err == nil {
			err = unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 500_000})
		}
		return err
	}))
	t.Cleanup(func() { _ = unix.Close(socket) })
	return socket
}

// sctpInit is the packet that opens an association (RFC 9260, 3.3.2).
func sctpInit(from, to uint16) []byte {
	b := encoding.BigEndian.AppendUint16(nil, from)
	b = encoding.BigEndian.AppendUint16(b, to)
	b = append(b, make([]byte, 8)...) // verification tag, checksum
	b = append(b, 1, 0, 0, 20)        // INIT, flags, length
	for _, v := range []uint32{0x12345678, 65536, 1<<16 | 1, 1} {
		b = encoding.BigEndian.AppendUint32(b, v)
	}
	encoding.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// SCTP host ports lead to the pod, with the checksum mended, in both families.
func TestSCTPHostPort(t *testing.T) {
	if _, err := os.Stat("/proc/sys/net/netfilter/nf_conntrack_sctp_timeout_established"); errors.Is(err, os.ErrNotExist) {
		n := newNetwork(t, nil)
		n.pod("any", nil) // connection tracking is loaded with the first rule
		if _, err := os.Stat("/proc/sys/net/netfilter/nf_conntrack_sctp_timeout_established"); err != nil {
			t.Skip("kernel lacks: connection tracking of SCTP")
		}
	}
	n := newNetwork(t, nil)
	out := outside(t)
	p := n.pod("p", ports(`{"hostPort":8080,"containerPort":80,"protocol":"sctp"}`))
	for _, host := range []string{"192.0.2.1", "2001:db8::1"} {
		addr := netip.MustParseAddr(host)
		client, server := rawSCTP(t, out, addr.Is4()), rawSCTP(t, p.ns, addr.Is4())
		var to unix.Sockaddr = &unix.SockaddrInet6{Addr: addr.As16()}
		if addr.Is4() {
			to = &unix.SockaddrInet4{Addr: addr.As4()}
		}
		must(t, unix.Sendto(client, sctpInit(5000, 8080), 0, to))
		b := make([]byte, 1500)
		count, _, err := unix.Recvfrom(server, b, 0)
		if err != nil {
			t.Errorf("%s: nothing arrives: %v", host, err)
			continue
		}
		packet := b[:count]
		if addr.Is4() { // which comes with its IP header
			packet = packet[int(packet[0]&15)*4:]
		}
		sum := encoding.LittleEndian.Uint32(packet[8:])
		clear(packet[8:12])
		if port := encoding.BigEndian.Uint16(packet[2:]); port != 80 || sum != crc32.Checksum(packet, crc32.MakeTable(crc32.Castagnoli)) {
			t.Errorf("%s: to port %d, checksum %x", host, port, sum)
		}
	}
	must(t, p.del())
	n.wantNothingLeft()
}
