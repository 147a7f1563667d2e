// Package identity is CSI's Identity service: who the driver is, what it can
// do, and whether it is ready. It owns nothing.
package identity

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/varve-project/varve/csi-driver/volume"
)

// Server implements csi.IdentityServer.
type Server struct {
	csi.UnimplementedIdentityServer
	version string
	probe   func() error
}

// New returns the service. Probe says why the driver is not healthy, if it is
// not; it is called often and must be cheap.
func New(version string, probe func() error) *Server {
	return &Server{version: version, probe: probe}
}

// GetPluginInfo implements csi.IdentityServer.
func (s *Server) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: volume.DriverName, VendorVersion: s.version}, nil
}

// GetPluginCapabilities implements csi.IdentityServer.
func (s *Server) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	service := func(t csi.PluginCapability_Service_Type) *csi.PluginCapability {
		return &csi.PluginCapability{Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: t}}}
	}
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		service(csi.PluginCapability_Service_CONTROLLER_SERVICE),
		service(csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS),
		// Not SNAPSHOT_ACCESSIBILITY_CONSTRAINTS (alpha), although snapshots
		// say where they can be used and requirements are heeded: the case of
		// csi-sanity 5.6.0 for it compares messages with their size caches,
		// and so fails for every driver that fills accessible_topology.
		{Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: &csi.PluginCapability_VolumeExpansion{
			Type: csi.PluginCapability_VolumeExpansion_ONLINE,
		}}},
	}}, nil
}

// Probe implements csi.IdentityServer. A driver that cannot serve answers
// FAILED_PRECONDITION, the specification's code for "not healthy".
func (s *Server) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	if err := s.probe(); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}
