package service

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// health serves grpc.health.v1 and is what /healthz repeats: serving between
// the end of the start and the begin of the drain.
type health struct {
	server *grpchealth.Server
	up     atomic.Bool
	// drain ends when watches must end.
	drain    context.Context
	endDrain context.CancelFunc
}

func newHealth() *health {
	h := &health{server: grpchealth.NewServer()}
	h.server.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	h.drain, h.endDrain = context.WithCancel(context.Background())
	return h
}

func (h *health) register(server *grpc.Server) {
	grpc_health_v1.RegisterHealthServer(server, h.server)
}

// serving says so for the whole server ("") and for each service on it.
func (h *health) serving(server *grpc.Server) {
	h.server.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	for name := range server.GetServiceInfo() {
		h.server.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	h.up.Store(true)
}

// shutdown tells everyone who watches, and ends the watches.
func (h *health) shutdown() {
	h.up.Store(false)
	h.server.Shutdown()
	h.endDrain()
}

// endWatches gives health watches a context that ends with the drain. They
// have no end of their own, and one watcher would hold up every drain until
// its timeout.
func (h *health) endWatches(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if info.FullMethod != grpc_health_v1.Health_Watch_FullMethodName {
		return handler(srv, stream)
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(h.drain, cancel)()
	return handler(srv, watch{stream, ctx})
}

type watch struct {
	grpc.ServerStream
	ctx context.Context
}

func (w watch) Context() context.Context { return w.ctx }
