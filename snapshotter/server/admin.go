package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/varve-project/varve/internal/finding"
)

// The admin service has one call, varve.snapshotter.v1.Admin/Audit: whether
// to fix in, findings as JSON out. It exists because a running daemon holds
// its records, so that nobody else can compare them with the disk.
const auditMethod = "/varve.snapshotter.v1.Admin/Audit"

// auditor is what the admin service is served by.
type auditor interface {
	audit(ctx context.Context, fix bool) (finding.List, error)
}

var adminDesc = grpc.ServiceDesc{
	ServiceName: "varve.snapshotter.v1.Admin",
	HandlerType: (*auditor)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Audit", Handler: handleAudit}},
	Metadata:    "varve/snapshotter/v1/admin",
}

func handleAudit(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	req := &wrapperspb.BoolValue{}
	if err := decode(req); err != nil {
		return nil, err
	}
	handler := func(ctx context.Context, req any) (any, error) {
		list, err := srv.(auditor).audit(ctx, req.(*wrapperspb.BoolValue).GetValue())
		if err != nil {
			return nil, toGRPC(err)
		}
		var text bytes.Buffer
		if err := list.WriteJSON(&text); err != nil {
			return nil, err
		}
		return wrapperspb.String(text.String()), nil
	}
	if intercept == nil {
		return handler(ctx, req)
	}
	return intercept(ctx, req, &grpc.UnaryServerInfo{Server: srv, FullMethod: auditMethod}, handler)
}

func (s *Server) audit(ctx context.Context, fix bool) (finding.List, error) {
	return within(ctx, s, s.call(), fix, s.driver.Audit)
}

// Audit asks the daemon behind conn to compare its records with its disk;
// with fix it moves what belongs to nobody to the trash.
func Audit(ctx context.Context, conn grpc.ClientConnInterface, fix bool) (finding.List, error) {
	answer := &wrapperspb.StringValue{}
	if err := conn.Invoke(ctx, auditMethod, wrapperspb.Bool(fix), answer); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	var list finding.List
	if err := json.Unmarshal([]byte(answer.GetValue()), &list); err != nil {
		return nil, fmt.Errorf("audit: the daemon's answer: %w", err)
	}
	return list, nil
}
