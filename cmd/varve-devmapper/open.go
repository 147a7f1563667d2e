package main

import (
	"context"
	"errors"

	"github.com/containerd/log"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/varve-project/varve/devmapper"
	"github.com/varve-project/varve/devmapper/pool"
	"github.com/varve-project/varve/devmapper/pool/guard"
	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/internal/service"
	"github.com/varve-project/varve/snapshotter/server"
)

func open(ctx context.Context, c *config, g *grpc.Server) (service.Service, error) {
	p, err := pool.Open(ctx, c.Pool, pool.Options{Directory: c.Root, Log: log.G(ctx).WithField("part", "pool")})
	if err != nil {
		return nil, err
	}
	watch, err := p.Watch(ctx)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	d, err := devmapper.Open(ctx, p, c.Config, log.G(ctx).WithField("part", "devmapper"))
	if err != nil {
		return nil, errors.Join(err, watch.Close())
	}
	server.New(watched{d, watch}, c.Server).Register(g)
	return watched{d, watch}, nil
}

// watched is a driver and the guardian of its pool.
type watched struct {
	*devmapper.Driver
	guard *guard.Guard
}

// Audit has the guardian's findings besides: the doctor asks a running daemon
// for these.
func (w watched) Audit(ctx context.Context, fix bool) (finding.List, error) {
	list, err := w.Driver.Audit(ctx, fix)
	if err != nil {
		return nil, err
	}
	list = append(list, w.guard.Findings()...)
	list.Sort()
	return list, nil
}

// Describe and Collect make it a prometheus.Collector of both.
func (w watched) Describe(out chan<- *prometheus.Desc) {
	w.Driver.Describe(out)
	w.guard.Describe(out)
}

// Collect implements prometheus.Collector.
func (w watched) Collect(out chan<- prometheus.Metric) {
	w.Driver.Collect(out)
	w.guard.Collect(out)
}

// Close ends the watching first: it asks the pool.
func (w watched) Close() error { return errors.Join(w.guard.Close(), w.Driver.Close()) }
