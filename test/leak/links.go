package leak

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// linkItems lists the links of the calling thread's network namespace.
func linkItems() (map[string]string, error) {
	handle, err := netlink.NewHandle()
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	var links []netlink.Link
	// A dump that a change interrupted is incomplete and says so.
	for try := 0; ; try++ {
		if links, err = handle.LinkList(); err == nil {
			break
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == 10 {
			return nil, err
		}
	}
	items := map[string]string{}
	for _, link := range links {
		a := link.Attrs()
		items[fmt.Sprintf("%d %s", a.Index, a.Name)] = fmt.Sprintf("%s (%s, index %d)", a.Name, link.Type(), a.Index)
	}
	return items, nil
}
