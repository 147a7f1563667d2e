package guard

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what is counted between two scrapes.
type metrics struct {
	looks, refusals atomic.Uint64

	mu      sync.Mutex
	done    [2]uint64 // extensions by space: data, metadata
	failed  uint64
	extents [2]uint64 // bytes by space
}

func (m *metrics) extended(by Extension, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.failed++
		return
	}
	for i, n := range []uint64{by.Data, by.Metadata} {
		if n > 0 {
			m.done[i]++
			m.extents[i] += n
		}
	}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("varve_devmapper_pool_"+name, help, append([]string{"pool"}, labels...), nil)
}

var (
	usedBytes    = desc("used_bytes", "Bytes of the pool's space that are used.", "space")
	sizeBytes    = desc("size_bytes", "Bytes of the pool's space.", "space")
	floorBytes   = desc("floor_bytes", "Free bytes below which nothing new is admitted.", "space")
	roomBytes    = desc("room_bytes", "Bytes that the volume group could still add.")
	modeInfo     = desc("mode", "1 for the mode that the pool is in: rw, out_of_data_space, ro, fail.", "mode")
	needsCheck   = desc("needs_check", "1 when the pool's metadata need a check before the kernel writes them again.")
	errorIfFull  = desc("error_if_full", "1 when writes to a full pool fail, 0 when they wait.")
	admitting    = desc("admitting", "1 when new snapshots are admitted.")
	fullSeconds  = desc("full_seconds", "How long the data space has been full; 0 when it is not.")
	findingCount = desc("finding", "1 for every finding about the pool.", "id", "severity")
	lookTime     = desc("last_look_timestamp_seconds", "When the pool's state was last read, or failed to be.")
	lookCount    = desc("looks_total", "How often the pool's state was read.")
	refusalCount = desc("refusals_total", "Requests for new space that were refused.")
	extendCount  = desc("extensions_total", "Extensions of the pool's space.", "space")
	extendBytes  = desc("extended_bytes_total", "Bytes by which the pool's space was extended.", "space")
	extendFails  = desc("extension_failures_total", "Extensions that failed.")
)

// Describe implements prometheus.Collector.
func (g *Guard) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		usedBytes, sizeBytes, floorBytes, roomBytes, modeInfo, needsCheck, errorIfFull, admitting, fullSeconds,
		findingCount, lookTime, lookCount, refusalCount, extendCount, extendBytes, extendFails,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector. It tells of the last look and makes
// none: a scrape never waits for the kernel.
func (g *Guard) Collect(out chan<- prometheus.Metric) {
	v := g.View()
	pool := g.limits.Pool
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{pool}, labels...)...)
	}
	count := func(d *prometheus.Desc, value uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), append([]string{pool}, labels...)...)
	}
	for _, s := range []struct {
		name  string
		space Space
		floor uint64
	}{
		{"data", v.Data, g.limits.dataFloor(v.Data.Total)},
		{"metadata", v.Metadata, g.limits.metadataFloor(v.Metadata.Total)},
	} {
		gauge(usedBytes, float64(s.space.Used), s.name)
		gauge(sizeBytes, float64(s.space.Total), s.name)
		gauge(floorBytes, float64(s.floor), s.name)
	}
	if v.Room.Known {
		gauge(roomBytes, float64(v.Room.Bytes))
	}
	for _, m := range []Mode{Write, OutOfData, ReadOnly, Failed} {
		gauge(modeInfo, truth(v.Mode == m), string(m))
	}
	gauge(needsCheck, truth(v.NeedsCheck))
	gauge(errorIfFull, truth(v.ErrorIfFull))
	gauge(admitting, truth(v.Admit == nil))
	gauge(fullSeconds, v.FullFor.Seconds())
	for _, f := range v.Findings {
		gauge(findingCount, 1, f.ID, string(f.Severity))
	}
	gauge(lookTime, float64(v.At.UnixMilli())/1000)
	count(lookCount, g.metrics.looks.Load())
	count(refusalCount, g.metrics.refusals.Load())
	g.metrics.mu.Lock()
	defer g.metrics.mu.Unlock()
	for i, space := range []string{"data", "metadata"} {
		count(extendCount, g.metrics.done[i], space)
		count(extendBytes, g.metrics.extents[i], space)
	}
	count(extendFails, g.metrics.failed)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
