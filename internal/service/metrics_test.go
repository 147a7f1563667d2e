package service_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestMetricsHealthAndProfiles(t *testing.T) {
	address := freePort(t)
	p := launch(t, folder(t), "--metrics-address", address).ready()
	if err := p.call("Sleep", 0); err != nil {
		t.Fatal(err)
	}
	if err := p.call("Panic", 0); err == nil {
		t.Fatal("Panic returned")
	}
	code, body := get(t, "http://"+address+"/metrics")
	for _, want := range []string{
		`grpc_server_handled_total{grpc_code="OK",grpc_method="Sleep"`,
		`grpc_server_handled_total{grpc_code="Internal",grpc_method="Panic"`,
		`grpc_server_handling_seconds_bucket{grpc_method="Sleep"`,
		"varve_build_info{", "varve_test_own_total 0", "process_open_fds", "go_goroutines",
	} {
		if code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%d, no %q", code, want)
		}
	}
	if code, body := get(t, "http://"+address+"/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("healthz: %d %q", code, body)
	}
	if code, _ := get(t, "http://"+address+"/debug/pprof/goroutine?debug=1"); code != http.StatusOK {
		t.Errorf("pprof: %d", code)
	}

	p.begin("Sleep", time.Second)
	p.signal(syscall.SIGTERM)
	p.eventually("healthz says no while draining", func() bool {
		code, _ := get(t, "http://"+address+"/healthz")
		return code == http.StatusServiceUnavailable
	})
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestMetricsAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	p := launch(t, folder(t), "--metrics-address", l.Addr().String())
	if code := p.wait(); code != 1 || !strings.Contains(p.out.String(), "metrics_address") {
		t.Errorf("exit %d: %s", code, p.out.String())
	}
	mustExist(t, p.address, false)
}

// Failures reach a log reader in the log's own form.
func TestJSONLog(t *testing.T) {
	p := launch(t, folder(t), "--log-format", "json", "--config", write(t, "open = 'fail'\n"))
	if code := p.wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	for _, line := range strings.Split(strings.TrimSpace(p.out.String()), "\n") {
		if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}") {
			t.Errorf("no JSON: %s", line)
		}
	}
}
