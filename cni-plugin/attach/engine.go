package attach

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/cni-plugin/link"
	"github.com/varve-project/varve/cni-plugin/rules"
)

// Engine serves calls, one at a time. The zero value is ready.
type Engine struct {
	// Boot overrides the kernel's boot id, for tests that simulate a reboot.
	Boot string
}

// Call is one request as the runtime made it.
type Call struct {
	ContainerID string
	IfName      string
	Netns       string
	Args        string // CNI_ARGS
	Stdin       []byte
	// Stamp is CLOCK_BOOTTIME in nanoseconds when the process entered: take
	// it first, so that a call that waited counts by when it was made.
	Stamp int64
}

func (c Call) key(network string) ipam.Key {
	return ipam.Key{Network: network, ContainerID: c.ContainerID, IfName: c.IfName}
}

// session is what one call works with.
type session struct {
	config *Config
	store  *ipam.Store
	host   *link.Host
	stamp  int64
	table  *rules.Table // opened by the first that needs it
	// installed: this call has written the table, which was not there.
	installed bool
}

// open makes the session of a call. Close it.
func (e *Engine) open(c *Config, stamp int64) (*session, error) {
	boot, err := e.boot()
	if err != nil {
		return nil, err
	}
	store, err := ipam.Open(c.DataDir, c.Network, boot)
	if err != nil {
		return nil, fail(types.ErrIOFailure, "%v", err)
	}
	if c.HostLocal != "" {
		if err := store.ImportHostLocal(c.HostLocal); err != nil {
			return nil, fail(types.ErrIOFailure, "%v", err)
		}
	}
	host, err := link.OpenHost()
	if err != nil {
		return nil, fail(CodeKernel, "%v", err)
	}
	return &session{config: c, store: store, host: host, stamp: stamp}, nil
}

func (e *Engine) boot() (string, error) {
	if e.Boot != "" {
		return e.Boot, nil
	}
	boot, err := ipam.BootID()
	if err != nil {
		return "", fail(types.ErrIOFailure, "read the boot id: %v", err)
	}
	return boot, nil
}

func (s *session) close() {
	s.host.Close()
	if s.table != nil {
		s.table.Close()
	}
}

// LinkExists lets the store ask about links.
func (s *session) LinkExists(l ipam.Link) (bool, error) {
	return s.host.Exists(l.Name, l.Alias, l.Index)
}

// hostName is the name of the host's end of an attachment's pair: a hash of
// the key, so that a DEL finds it also without a record. 40 bits are enough
// for links of one host, and a clash is refused, not overwritten.
func hostName(k ipam.Key) string { return "varve" + k.Hash()[:10] }

// hostAlias tells our link from another of that name, and one ADD's from the
// next one's of the same key.
func hostAlias(k ipam.Key, stamp int64) string {
	return fmt.Sprintf("%s%d", aliasPrefix(k), stamp)
}

// aliasPrefix is what the aliases of all ADDs of one key begin with.
func aliasPrefix(k ipam.Key) string { return "varve-cni " + k.Hash() + " " }

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
