package devmapper

import "github.com/prometheus/client_golang/prometheus"

var (
	trashDesc = prometheus.NewDesc("varve_devmapper_trash_devices",
		"Thin devices that are still to be deleted; failed: those that could not be so far.", []string{"state"}, nil)
	deletedDesc = prometheus.NewDesc("varve_devmapper_deleted_total",
		"Thin devices deleted since the start.", nil, nil)
	templatesDesc = prometheus.NewDesc("varve_devmapper_templates",
		"Formatted templates that snapshots without parent are made of.", nil, nil)
)

var _ prometheus.Collector = (*Driver)(nil)

// Describe implements prometheus.Collector.
func (d *Driver) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{trashDesc, deletedDesc, templatesDesc} {
		out <- desc
	}
}

// Collect implements prometheus.Collector. It asks neither kernel nor disk.
func (d *Driver) Collect(out chan<- prometheus.Metric) {
	waiting, failed := d.trash.backlog()
	d.trash.mu.Lock()
	deleted := d.trash.deleted
	d.trash.mu.Unlock()
	gauge := func(desc *prometheus.Desc, v int, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(v), labels...)
	}
	gauge(trashDesc, waiting, "waiting")
	gauge(trashDesc, failed, "failed")
	gauge(templatesDesc, len(d.templates.all()))
	out <- prometheus.MustNewConstMetric(deletedDesc, prometheus.CounterValue, float64(deleted))
}
