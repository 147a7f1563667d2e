// Package controller is CSI's Controller service: it checks requests, keeps
// two calls off one object, compares a repeated call with what its first one
// made, and turns what a volume.Backend answers into CSI's values and codes.
//
// It keeps no state and touches no disk; that is the backend's. Devices and
// mounts are the node service's.
package controller

import (
	"context"
	"fmt"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/varve-project/varve/csi-driver/volume"
)

// Server implements csi.ControllerServer.
type Server struct {
	csi.UnimplementedControllerServer
	backend volume.Backend
	locks   *volume.Locks
	node    volume.Node
}

// New returns the service. Locks are shared with the node service, so that no
// volume is deleted while it is being staged.
func New(backend volume.Backend, locks *volume.Locks, node volume.Node) *Server {
	return &Server{backend: backend, locks: locks, node: node}
}

// ControllerGetCapabilities implements csi.ControllerServer.
func (s *Server) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	var caps []*csi.ControllerServiceCapability
	for _, t := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
		csi.ControllerServiceCapability_RPC_GET_VOLUME,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		csi.ControllerServiceCapability_RPC_GET_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		caps = append(caps, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: t}},
		})
	}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: caps}, nil
}

// required answers INVALID_ARGUMENT when a required field is empty.
func required(field, value string) error {
	if value == "" {
		return status.Errorf(codes.InvalidArgument, "%s: is required", field)
	}
	return nil
}

// unused answers INVALID_ARGUMENT to a map that this driver would ignore.
func unused[V any](field string, m map[string]V, why string) error {
	for _, key := range keys(m) { // values may be secrets: only the key is named
		return status.Errorf(codes.InvalidArgument, "%s[%q]: %s", field, key, why)
	}
	return nil
}

const noSecrets = "this driver takes no secrets; remove them from the class"

// keys are sorted, so that the same request gets the same error.
func keys[V any](m map[string]V) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// lock names of objects that have no id yet.
func volumeNamed(name string) string   { return fmt.Sprintf("volume named %q", name) }
func snapshotNamed(name string) string { return fmt.Sprintf("snapshot named %q", name) }
