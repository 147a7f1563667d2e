package link

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/failpoint"
)

// Delete removes those of the named links that are ours: whose alias begins so,
// or which are as bare as an ADD leaves them that was killed before it set the
// alias. A veth's peer goes with it. Absence, or another's alias, is no error.
// The caller holds whatever keeps two processes from one name.
//
// When it returns, the names and addresses are gone from both namespaces. The
// kernel waits for a grace period of its own (10 to 20 ms) at the end of each
// deletion, so several links go in one.
func (h *Host) Delete(aliasPrefix string, names ...string) error {
	var doomed []netlink.Link
	for _, name := range names {
		l, err := h.ByName(name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if isOurs(l, aliasPrefix) {
			doomed = append(doomed, l)
		}
	}
	switch len(doomed) {
	case 0:
		return nil
	case 1:
		if err := h.h.LinkDel(doomed[0]); err != nil && !errors.Is(err, syscall.ENODEV) {
			return fmt.Errorf("delete link %s: %w", doomed[0].Attrs().Name, err)
		}
		return nil
	}
	return h.deleteTogether(doomed)
}

// isOurs goes by the alias. Without one, a link of our name, which is a hash of
// the key, is ours while it is bare.
func isOurs(l netlink.Link, aliasPrefix string) bool {
	a := l.Attrs()
	if a.Alias != "" {
		return strings.HasPrefix(a.Alias, aliasPrefix)
	}
	return l.Type() == "ifb" || l.Type() == "veth" && a.MasterIndex == 0
}

// deleteTogether puts links into a group of their own and deletes the group.
// Groups are numbers that an administrator may give to links; those above 2^31
// are hardly anybody's, and this one carries the index of a link of ours, which
// no other deletion in this namespace can have at the same time.
func (h *Host) deleteTogether(links []netlink.Link) error {
	group := 1<<31 | uint32(links[0].Attrs().Index)
	for _, l := range links {
		failpoint.Hit("cni.del.group.before")
		req := linkRequest(unix.RTM_SETLINK, int32(l.Attrs().Index))
		req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
		if err := h.execute(req); err != nil && !errors.Is(err, syscall.ENODEV) {
			return fmt.Errorf("delete link %s: %w", l.Attrs().Name, err)
		}
		failpoint.Hit("cni.del.group.after")
	}
	req := linkRequest(unix.RTM_DELLINK, 0)
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
	if err := h.execute(req); err != nil && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("delete link %s and what belongs to it: %w", links[0].Attrs().Name, err)
	}
	return nil
}

func linkRequest(kind int, index int32) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = index
	req.AddData(msg)
	return req
}
