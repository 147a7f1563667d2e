package service_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func TestDrainLetsCallsEnd(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(s.String(), func(t *testing.T) {
			p := launch(t, folder(t)).ready()
			result := p.begin("Sleep", time.Second)
			if code := p.signal(s).wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if err := <-result; err != nil {
				t.Errorf("the call under way: %v", err)
			}
			if !strings.Contains(p.out.String(), "closed") {
				t.Error("the service was not closed")
			}
			mustExist(t, p.address, false)
		})
	}
}

func TestDrainIsBounded(t *testing.T) {
	for name, method := range map[string]string{"a call that heeds its context": "Sleep", "a call that does not": "Deaf"} {
		t.Run(name, func(t *testing.T) {
			p := launch(t, folder(t), "--drain-timeout", "300ms").ready()
			result := p.begin(method, time.Hour)
			if code := p.signal(syscall.SIGTERM).wait(); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if err := <-result; status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
				t.Errorf("the call that was cut: %v", err)
			}
			for _, want := range []string{"1 calls were still under way after 300ms", "closed"} {
				if !strings.Contains(p.out.String(), want) {
					t.Errorf("no %q in: %s", want, p.out.String())
				}
			}
			mustExist(t, p.address, false)
		})
	}
}

func TestCloseIsBounded(t *testing.T) {
	p := launch(t, folder(t), "--drain-timeout", "200ms", "--config", write(t, "close = '1h'\n")).ready()
	if code := p.signal(syscall.SIGTERM).wait(); code != 1 || !strings.Contains(p.out.String(), "drain_timeout") {
		t.Errorf("exit %d: %s", code, p.out.String())
	}
	mustExist(t, p.address, false)
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	p := launch(t, folder(t), "--drain-timeout", "1h").ready()
	p.begin("Sleep", time.Hour)
	p.signal(syscall.SIGTERM)
	p.eventually("the drain begins", func() bool { return strings.Contains(p.out.String(), "calls under way: 1") })
	if code := p.signal(syscall.SIGINT).wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// A health watch has no end of its own; it must not hold up the drain.
func TestHealthWatcherDoesNotHoldUpTheDrain(t *testing.T) {
	p := launch(t, folder(t), "--drain-timeout", "1h").ready()
	conn := dial(t, p.address)
	defer func() { _ = conn.Close() }()
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("%v %v", got, err)
	}
	if code := p.signal(syscall.SIGTERM).wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestPanicIsOneCallsError(t *testing.T) {
	p := launch(t, folder(t)).ready()
	for _, method := range []string{"Panic", "PanicStream"} {
		if err := p.call(method, 0); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "spilled") {
			t.Errorf("%s: %v", method, err)
		}
	}
	p.ready()
	if out := p.out.String(); !strings.Contains(out, "daemon_test.go") {
		t.Errorf("the log has no stack: %s", out)
	}
}
