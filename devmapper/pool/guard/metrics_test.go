package guard

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/yaml"
)

// gather returns every sample as "name{label=value,…}" with its value.
func gather(t *testing.T, g *Guard) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry() // holds Collect against Describe
	if err := registry.Register(g); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	samples := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				switch {
				case l.GetName() != "pool":
					labels = append(labels, l.GetName()+"="+l.GetValue())
				case l.GetValue() != limits.Pool:
					t.Errorf("a sample of pool %s", l.GetValue())
				}
			}
			name := strings.TrimPrefix(f.GetName(), "varve_devmapper_pool_") + "{" + strings.Join(labels, ",") + "}"
			samples[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return samples
}

func TestMetrics(t *testing.T) {
	p := newFake(func(s *Status) { s.Data.Used = 85 * gib })
	p.room = 21 * gib
	with(t, p, limits, func(t *testing.T, g *Guard, _ *journal) {
		synctest.Wait() // extended by 20 GiB
		p.quietly(func(p *fakePool) { p.extendErr = errors.New("locked") })
		p.event(func(s *Status) { s.Data.Used, s.Mode = 120*gib, OutOfData })
		synctest.Wait()
		time.Sleep(7 * time.Second)
		for range 3 {
			if g.Admit() == nil {
				t.Error("a full pool admits")
			}
		}
		got := gather(t, g)
		for sample, want := range map[string]float64{
			"used_bytes{space=data}":                          120 * gib,
			"size_bytes{space=data}":                          120 * gib,
			"floor_bytes{space=data}":                         12 * gib,
			"used_bytes{space=metadata}":                      100 * mib,
			"size_bytes{space=metadata}":                      1024 * mib,
			"floor_bytes{space=metadata}":                     float64(percent(1024*mib, 10)),
			"room_bytes{}":                                    gib,
			"mode{mode=rw}":                                   0,
			"mode{mode=out_of_data_space}":                    1,
			"mode{mode=ro}":                                   0,
			"mode{mode=fail}":                                 0,
			"needs_check{}":                                   0,
			"error_if_full{}":                                 1,
			"admitting{}":                                     0,
			"refusals_total{}":                                3,
			"extensions_total{space=data}":                    1,
			"extensions_total{space=metadata}":                0,
			"extended_bytes_total{space=data}":                20 * gib,
			"extended_bytes_total{space=metadata}":            0,
			"extension_failures_total{}":                      1,
			"finding{id=" + DataFull + ",severity=error}":     1,
			"finding{id=" + ExtendFailed + ",severity=error}": 1,
			"finding{id=" + NoRoom + ",severity=error}":       1,
		} {
			if v, ok := got[sample]; !ok || v != want {
				t.Errorf("%s = %v (there: %v), want %v", sample, v, ok, want)
			}
		}
		if s := got["full_seconds{}"]; s < 5 || s > 7 {
			t.Errorf("full for %v seconds, want about 7", s)
		}
		if at := got["last_look_timestamp_seconds{}"]; at < float64(time.Now().Unix()-3) || got["looks_total{}"] < 4 {
			t.Errorf("%v looks, the last at %v", got["looks_total{}"], at)
		}
	})
}

// Every metric and label that an alert speaks of exists.
func TestAlertRules(t *testing.T) {
	data, err := os.ReadFile("../../../deploy/prometheus/varve-devmapper.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalStrict(data, &file); err != nil {
		t.Fatal(err)
	}
	known := map[string]map[string]bool{}
	p := newFake(func(s *Status) { s.Data.Used = 95 * gib })
	p.room = 0 // which is a finding
	with(t, p, limits, func(t *testing.T, g *Guard, _ *journal) {
		synctest.Wait()
		known = labelsOf(t, g)
	})
	alerts := 0
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			alerts++
			if rule.Alert == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("rule lacks something: %+v", rule)
			}
			names := regexp.MustCompile(`varve_\w+`).FindAllString(rule.Expr, -1)
			if len(names) == 0 {
				t.Errorf("%s: no metric of ours in %q", rule.Alert, rule.Expr)
			}
			for _, name := range names {
				if known[name] == nil {
					t.Errorf("%s: there is no metric %s", rule.Alert, name)
				}
			}
			for _, m := range regexp.MustCompile(`(varve_\w+)\{(\w+)`).FindAllStringSubmatch(rule.Expr, -1) {
				if !known[m[1]][m[2]] {
					t.Errorf("%s: %s has no label %s", rule.Alert, m[1], m[2])
				}
			}
			for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(fmt.Sprint(rule.Annotations), -1) {
				if !known[names[0]][m[1]] && m[1] != "instance" {
					t.Errorf("%s: its text names the label %s, which %s has not", rule.Alert, m[1], names[0])
				}
			}
		}
	}
	if alerts < 5 {
		t.Errorf("only %d alerts were read", alerts)
	}
}

// labelsOf returns the metrics' full names with their labels.
func labelsOf(t *testing.T, g *Guard) map[string]map[string]bool {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(g)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]map[string]bool{}
	for _, f := range families {
		known[f.GetName()] = map[string]bool{}
		for _, l := range f.GetMetric()[0].GetLabel() {
			known[f.GetName()][l.GetName()] = true
		}
	}
	return known
}
