package service

import (
	"context"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/containerd/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// calls counts the calls under way, writes the log line of each call that
// failed, and turns a panic in a handler into that call's error. It is the
// one place where errors of calls are logged.
type calls struct{ count atomic.Int64 }

func (c *calls) underWay() int64 { return c.count.Load() }

func (c *calls) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	defer c.watch(ctx, info.FullMethod, &err)()
	return handler(ctx, req)
}

func (c *calls) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer c.watch(stream.Context(), info.FullMethod, &err)()
	return handler(srv, stream)
}

// watch begins a call; the function that it returns ends it, and must be
// deferred directly, or recover would not work.
func (c *calls) watch(ctx context.Context, method string, err *error) func() {
	c.count.Add(1)
	start := time.Now()
	return func() {
		c.count.Add(-1)
		if cause := recover(); cause != nil {
			log.G(ctx).WithFields(log.Fields{"method": method, "stack": string(debug.Stack())}).Errorf("panic: %v", cause)
			*err = status.Errorf(codes.Internal, "%s: a fault in the daemon (panic: %v); its log has the stack", method, cause)
			return
		}
		if *err != nil {
			code := status.Code(*err)
			log.G(ctx).WithError(*err).WithFields(log.Fields{
				"method": method, "code": code.String(), "duration": time.Since(start).String(),
			}).Log(level(code), "call failed")
		}
	}
}

// level is error for what is our fault or the machine's. The rest is the
// ordinary business of callers (not found, exists already, in use).
func level(code codes.Code) log.Level {
	switch code {
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return log.ErrorLevel
	}
	return log.DebugLevel
}
