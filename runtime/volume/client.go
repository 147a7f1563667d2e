package volume

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/runtime/config"
)

// callTimeout bounds one CSI call; a copy of a large volume may take long.
// kubelet's own bound for a node call is 2 minutes.
const callTimeout = 10 * time.Minute

// Store is the volumes of one Root and State, with a connection to the CSI
// driver that is made when first needed.
type Store struct {
	cfg config.Config

	mu     sync.Mutex
	driver *driver
}

// Open returns the store of a configuration. Nothing is dialled yet.
func Open(c config.Config) *Store { return &Store{cfg: c} }

// Close ends the connection to the driver.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.driver == nil {
		return nil
	}
	err := s.driver.conn.Close()
	s.driver = nil
	return err
}

// driver is a connected CSI driver and what it says it can do.
type driver struct {
	name       string
	conn       *grpc.ClientConn
	controller csi.ControllerClient
	node       csi.NodeClient
	nodeID     string
	topology   *csi.Topology

	topologies bool
	ctl        map[csi.ControllerServiceCapability_RPC_Type]bool
	nod        map[csi.NodeServiceCapability_RPC_Type]bool
}

// connect dials the driver once and asks what it can do.
func (s *Store) connect(ctx context.Context) (*driver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.driver != nil {
		return s.driver, nil
	}
	socket := s.cfg.CSISocket()
	conn, err := grpc.NewClient("passthrough:///csi",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}))
	if err != nil {
		return nil, fmt.Errorf("CSI driver at %s: %w", socket, err)
	}
	d := &driver{conn: conn, controller: csi.NewControllerClient(conn), node: csi.NewNodeClient(conn)}
	if err := d.ask(ctx); err != nil {
		_ = conn.Close()
		if status.Code(err) == codes.Unavailable {
			return nil, fmt.Errorf("CSI driver at %s does not answer: %w; `varve up` starts it", socket, err)
		}
		return nil, fmt.Errorf("CSI driver at %s: %w", socket, err)
	}
	s.driver = d
	return d, nil
}

func (d *driver) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	identity := csi.NewIdentityClient(d.conn)
	info, err := identity.GetPluginInfo(ctx, &csi.GetPluginInfoRequest{})
	if err != nil {
		return err
	}
	d.name = info.GetName()
	plugin, err := identity.GetPluginCapabilities(ctx, &csi.GetPluginCapabilitiesRequest{})
	if err != nil {
		return err
	}
	hasController := false
	for _, c := range plugin.GetCapabilities() {
		switch c.GetService().GetType() {
		case csi.PluginCapability_Service_CONTROLLER_SERVICE:
			hasController = true
		case csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS:
			d.topologies = true
		}
	}
	d.ctl = map[csi.ControllerServiceCapability_RPC_Type]bool{}
	if hasController {
		caps, err := d.controller.ControllerGetCapabilities(ctx, &csi.ControllerGetCapabilitiesRequest{})
		if err != nil {
			return err
		}
		for _, c := range caps.GetCapabilities() {
			d.ctl[c.GetRpc().GetType()] = true
		}
	}
	d.nod = map[csi.NodeServiceCapability_RPC_Type]bool{}
	caps, err := d.node.NodeGetCapabilities(ctx, &csi.NodeGetCapabilitiesRequest{})
	if err != nil {
		return err
	}
	for _, c := range caps.GetCapabilities() {
		d.nod[c.GetRpc().GetType()] = true
	}
	node, err := d.node.NodeGetInfo(ctx, &csi.NodeGetInfoRequest{})
	if err != nil {
		return err
	}
	d.nodeID, d.topology = node.GetNodeId(), node.GetAccessibleTopology()
	return nil
}

// needs refuses what the driver does not serve, in words.
func (d *driver) needs(c csi.ControllerServiceCapability_RPC_Type, what string) error {
	if d.ctl[c] {
		return nil
	}
	return fmt.Errorf("CSI driver %s cannot %s (it lacks %s)", d.name, what, c)
}

// capability is the CSI form of what the claim asked for.
func (r Request) capability() *csi.VolumeCapability {
	c := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: r.accessMode()}}
	if r.Block {
		c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	} else {
		c.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{
			FsType: r.FSType, MountFlags: r.MountFlags,
		}}
	}
	return c
}

// accessMode translates as the CSI sidecars do for drivers without the
// SINGLE_NODE_MULTI_WRITER capability.
func (r Request) accessMode() csi.VolumeCapability_AccessMode_Mode {
	mode := csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	for _, m := range r.AccessModes {
		switch m {
		case "ReadWriteMany":
			return csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
		case "ReadOnlyMany":
			mode = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
		case "ReadWriteOnce", "ReadWriteOncePod":
			return csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
		}
	}
	return mode
}
