package firewall

import (
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// probe asks for all the places at once and returns those that the kernel has.
// On most hosts there are none, and this one question is all that an ADD pays
// for foreign firewalls.
func probe(places []place) ([]place, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // every answer has been read
	var questions []netlink.Message
	for _, p := range places {
		attrs, err := netlink.MarshalAttributes([]netlink.Attribute{
			{Type: unix.NFTA_CHAIN_TABLE, Data: []byte(p.table + "\x00")},
			{Type: unix.NFTA_CHAIN_NAME, Data: []byte(p.chain + "\x00")},
		})
		if err != nil {
			return nil, err
		}
		questions = append(questions, netlink.Message{
			Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETCHAIN, Flags: netlink.Request},
			Data:   append([]byte{byte(p.family), unix.NFNETLINK_V0, 0, 0}, attrs...),
		})
	}
	if _, err := conn.SendMessages(questions); err != nil {
		return nil, err
	}
	// The kernel answers in the order of the questions, each by one message.
	var out []place
	for _, p := range places {
		_, err := conn.Receive()
		switch {
		case errors.Is(err, unix.ENOENT):
		case err != nil:
			return nil, err
		default:
			out = append(out, p)
		}
	}
	return out, nil
}
