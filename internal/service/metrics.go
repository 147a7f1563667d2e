package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/containerd/log"
	rpcmetrics "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/varve-project/varve/internal/version"
)

// metrics holds the daemon's registry; nothing is registered globally, so
// that several servers can live in one process.
type metrics struct {
	registry *prometheus.Registry
	rpc      *rpcmetrics.ServerMetrics
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		rpc: rpcmetrics.NewServerMetrics(rpcmetrics.WithServerHandlingTimeHistogram(
			// 100 µs to 26 s: a Stat takes under a millisecond, an unpack many seconds.
			rpcmetrics.WithHistogramBuckets(prometheus.ExponentialBuckets(0.0001, 4, 10)),
		)),
	}
	id := version.Get()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "varve_build_info",
		Help:        "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": id.Version, "commit": id.Commit, "go": id.Go},
	})
	build.Set(1)
	m.registry.MustRegister(m.rpc, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// add registers the service's own metrics, when it has any.
func (m *metrics) add(service Service) error {
	if own, ok := service.(prometheus.Collector); ok {
		if err := m.registry.Register(own); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

// serve answers /metrics, /healthz and /debug/pprof on address until stop.
func (m *metrics) serve(ctx context.Context, address string, h *health) (stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics_address = %q: %w", address, err)
	}
	server := &http.Server{Handler: m.handler(h), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.L.WithError(err).Error("metrics are no longer served")
		}
	}()
	return func() { _ = server.Close() }, nil
}

func (m *metrics) handler(h *health) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !h.up.Load() {
			http.Error(w, "not serving", http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
