package service

import (
	"fmt"
	"runtime"
	"time"

	"google.golang.org/grpc"
)

// grace is how long a handler has, after its call was cut, to see that its
// context has ended.
const grace = 2 * time.Second

// server is the gRPC server with what watches over it.
type server struct {
	grpc    *grpc.Server
	calls   *calls
	health  *health
	metrics *metrics
}

func newServer(options []grpc.ServerOption) *server {
	s := &server{calls: &calls{}, health: newHealth(), metrics: newMetrics()}
	ours := []grpc.ServerOption{
		// A goroutine that has served calls has a stack that is big enough
		// for the next one; a fresh one for each call grows it each time.
		// More calls at once than workers get fresh ones as ever.
		grpc.NumStreamWorkers(uint32(runtime.NumCPU())),
		// Outermost first: a panic that calls turns into an error is
		// counted as that error.
		grpc.ChainUnaryInterceptor(s.metrics.rpc.UnaryServerInterceptor(), s.calls.unary),
		grpc.ChainStreamInterceptor(s.metrics.rpc.StreamServerInterceptor(), s.health.endWatches, s.calls.stream),
	}
	s.grpc = grpc.NewServer(append(ours, options...)...)
	s.health.register(s.grpc)
	return s
}

// drain refuses new calls and waits for those under way; what is not done
// after timeout is cut.
func (s *server) drain(timeout time.Duration) error {
	s.health.shutdown()
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(timeout):
	}
	cut := s.calls.underWay()
	// Beside us: GracefulStop holds the server's lock while it waits for
	// handlers, and Stop wants it.
	go s.grpc.Stop()
	select {
	case <-done:
	case <-time.After(grace):
	}
	if cut == 0 {
		return nil
	}
	return fmt.Errorf("drain: %d calls were still under way after %s and were cut", cut, timeout)
}
