// Package node is CSI's Node service: it attaches volumes through a
// volume.Backend, mounts them at staging paths and binds them at targets.
//
// It owns the mounts it made and one record per staged volume,
// ROOT/node/ID.json, written before the first effect and removed after the
// last. What is mounted is always asked of the kernel; the record holds what
// the kernel does not know (how the volume was asked for). It never makes a
// file system: a volume that should have one got it while it was created.
package node

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/csi-driver/volume"
)

// Server implements csi.NodeServer.
type Server struct {
	csi.UnimplementedNodeServer
	backend volume.Backend
	locks   *volume.Locks
	node    volume.Node
	records records
}

// Config is what a Server works with.
type Config struct {
	Backend volume.Backend
	// Locks are shared with the controller service.
	Locks *volume.Locks
	// Node is this node's id.
	Node volume.Node
	// Dir holds the records; it is made when absent.
	Dir string
	// BootID tells this boot from others: records of another boot are void,
	// since mounts do not outlive one.
	BootID string
}

// Open returns the service after it has undone or finished what a crash cut
// short, and given back devices that belong to no staged volume. Warnings are
// what it could not give back because it is in use; everything else that goes
// wrong is an error.
func Open(ctx context.Context, c Config) (s *Server, warnings []error, err error) {
	s = &Server{backend: c.Backend, locks: c.Locks, node: c.Node}
	if s.records, err = openRecords(c.Dir, c.BootID); err != nil {
		return nil, nil, fmt.Errorf("node records: %w", err)
	}
	warnings, err = s.repair(ctx)
	return s, warnings, err
}

// NodeGetCapabilities implements csi.NodeServer.
func (s *Server) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	var caps []*csi.NodeServiceCapability
	for _, t := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		caps = append(caps, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: t}},
		})
	}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: caps}, nil
}

// NodeGetInfo implements csi.NodeServer.
func (s *Server) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: string(s.node), AccessibleTopology: s.node.Topology()}, nil
}

// requiredPath refuses an empty or relative path.
func requiredPath(field, path string) error {
	if path == "" {
		return status.Errorf(codes.InvalidArgument, "%s: is required", field)
	}
	if !filepath.IsAbs(path) {
		return status.Errorf(codes.InvalidArgument, "%s %q: must be absolute", field, path)
	}
	return nil
}

func requiredID(id string) error {
	if id == "" {
		return status.Error(codes.InvalidArgument, "volume_id: is required")
	}
	return nil
}

// checkContexts refuses what would be ignored.
func checkContexts(publish, secrets, context map[string]string) error {
	if len(publish) > 0 {
		return status.Error(codes.InvalidArgument, "publish_context: must be empty, since this driver has no ControllerPublishVolume")
	}
	if len(secrets) > 0 {
		return status.Error(codes.InvalidArgument, "secrets: this driver takes none; remove them from the class")
	}
	return volume.CheckContext(context)
}

// precondition is FAILED_PRECONDITION, with what to do.
func precondition(format string, args ...any) error {
	return status.Errorf(codes.FailedPrecondition, format, args...)
}

// parse reads a capability for staging or publishing. The specification wants
// FAILED_PRECONDITION for one that the volume cannot have, and
// INVALID_ARGUMENT for one that is missing.
func parse(c *csi.VolumeCapability) (volume.Capability, error) {
	if c == nil {
		return volume.Capability{}, status.Error(codes.InvalidArgument, "volume_capability: is required")
	}
	if c.GetAccessType() == nil {
		return volume.Capability{}, status.Error(codes.InvalidArgument, "volume_capability.access_type: neither block nor mount is given")
	}
	parsed, err := volume.ParseCapability(c)
	if err != nil {
		return parsed, precondition("%v", err)
	}
	return parsed, nil
}
