package pod_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

const forever = `command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 1 & wait; done"]`

// A container that fails is started again from a fresh root, at once the
// first time; the log of the run before is kept.
func TestRestart(t *testing.T) {
	s := start(t)
	s.apply(pod("again", `spec:restartPolicy: OnFailure`,
		`{name: c, image: busybox, volumeMounts: [{name: v, mountPath: /v}], command: [sh, -c, "
		ls /left; touch /left; echo run; if [ -e /v/once ]; then exit 0; fi; touch /v/once; exit 3"]}`,
		`spec:volumes: [{name: v, emptyDir: {}}]`))
	v := s.eventually("again", "ended", func(v view) bool { return v.Status.Phase == "Succeeded" })
	c := v.Status.Containers[0]
	if c.Attempt != 1 || c.ExitCode == nil || *c.ExitCode != 0 {
		t.Errorf("container %+v", c)
	}
	for _, args := range [][]string{{"pod", "logs", "again"}, {"pod", "logs", "-p", "again"}} {
		r := s.varve("", args...)
		if r.out != "run\n" || !strings.Contains(r.err, "No such file") {
			t.Errorf("%v: %+v: the root of a run is not fresh", args, r)
		}
	}
	if !v.Status.Released {
		t.Error("a pod that has ended still holds something")
	}
}

func TestBackoff(t *testing.T) {
	s := start(t)
	s.mustIn(pod("loop", `{name: c, image: busybox, command: ["false"]}`), "run", "-")
	v := s.eventually("loop", "in back-off", func(v view) bool {
		return v.Status.Containers[0].Reason == "CrashLoopBackOff"
	})
	if c := v.Status.Containers[0]; c.Attempt != 1 || c.State != "waiting" || !strings.Contains(c.Message, "10s") {
		t.Errorf("container %+v", c)
	}
	s.must("pod", "rm", "-f", "loop") // does not wait for the back-off
}

func TestProbes(t *testing.T) {
	s := start(t)
	s.mustIn(pod("probed", `{name: c, image: busybox, `+forever+`,
		startupProbe: {exec: {command: [test, -e, /started]}, periodSeconds: 1, failureThreshold: 30, timeoutSeconds: 10},
		readinessProbe: {exec: {command: [test, -e, /ready]}, periodSeconds: 1, timeoutSeconds: 10},
		livenessProbe: {exec: {command: [sh, -c, "test ! -e /dead"]}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 10}}`), "run", "-")
	ready := func(v view) bool { return v.Status.Containers[0].Ready }
	if v := s.inspect("probed"); ready(v) || v.Status.Phase != "Running" {
		t.Fatalf("before the startup probe: %+v", v.Status)
	}
	s.exec("probed", "touch", "/ready")
	time.Sleep(1500 * time.Millisecond)
	if ready(s.inspect("probed")) {
		t.Error("ready before the startup probe has succeeded")
	}
	s.exec("probed", "touch", "/started")
	s.eventually("probed", "ready", ready)
	s.exec("probed", "rm", "/ready")
	s.eventually("probed", "unready", func(v view) bool { return !ready(v) })
	s.exec("probed", "touch", "/ready")
	s.eventually("probed", "ready again", ready)
	s.exec("probed", "touch", "/dead")
	s.eventually("probed", "restarted", func(v view) bool { return v.Status.Containers[0].Attempt == 1 })
	has(t, s.must("why", "probed"), "liveness probe failed")
}

// A probe over the network, by number and by name, that fails.
func TestNetworkProbes(t *testing.T) {
	s := start(t)
	s.mustIn(pod("net", `{name: c, image: busybox, ports: [{name: web, containerPort: 80}],
		command: [sh, -c, "mkdir /w; trap 'exit 0' TERM; while [ ! -e /go ]; do sleep 0.1; done; httpd -p 80 -h /w; while :; do sleep 1 & wait; done"],
		readinessProbe: {httpGet: {port: web, path: /ok}, periodSeconds: 1}}`,
		`{name: d, image: busybox, `+forever+`, readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}}`), "run", "-")
	s.must("pod", "exec", "net", "-c", "c", "--", "touch", "/go")
	v := s.eventually("net", "ready by TCP", func(v view) bool { return v.Status.Containers[1].Ready })
	if v.Status.Containers[0].Ready {
		t.Error("ready with 404")
	}
	s.eventually("net", "told of the 404", func(view) bool { return strings.Contains(s.must("why", "net"), "404") })
	s.must("pod", "exec", "net", "-c", "c", "--", "touch", "/w/ok")
	s.eventually("net", "ready by HTTP", func(v view) bool { return v.Status.Ready })
}

// A killed supervisor takes nothing with it: the containers go on, what they
// write is kept, and the next command brings a new one, which sees how they
// end.
func TestSupervisorKilled(t *testing.T) {
	s := start(t)
	s.apply(pod("orphan", `spec:restartPolicy: Never`,
		`{name: c, image: busybox, command: [sh, -c, "
		trap 'exit 5' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.1 & wait; done"]}`))
	before := s.inspect("orphan")
	kill(t, before.Supervisor)
	time.Sleep(500 * time.Millisecond)
	if !alive(before.Status.Containers[0].Pid) {
		t.Fatal("the container went with its supervisor")
	}
	after := s.eventually("orphan", "adopted", func(v view) bool { return v.Supervisor != 0 && v.Supervisor != before.Supervisor })
	if after.Status.Containers[0].Pid != before.Status.Containers[0].Pid || after.Status.Containers[0].Attempt != 0 {
		t.Errorf("before %+v, after %+v", before.Status.Containers, after.Status.Containers)
	}
	s.must("pod", "stop", "-t", "20", "orphan")
	v := s.inspect("orphan")
	if c := v.Status.Containers[0]; c.ExitCode == nil || *c.ExitCode != 5 {
		t.Errorf("container %+v: want exit status 5", c)
	}
	lines := strings.Fields(s.must("pod", "logs", "orphan"))
	for i, line := range lines {
		if line != fmt.Sprint(i+1) {
			t.Fatalf("line %d is %q: output was lost", i+1, line)
		}
	}
	if len(lines) < 5 {
		t.Errorf("only %d lines", len(lines))
	}
}

// A container that ends while nobody looks is reported so, and its exit
// status is not made up.
func TestExitStatusLost(t *testing.T) {
	s := start(t)
	s.apply(pod("lost", `spec:restartPolicy: Never`, `{name: c, image: busybox, `+forever+`}`))
	v := s.inspect("lost")
	kill(t, v.Supervisor)
	kill(t, v.Status.Containers[0].Pid)
	v = s.eventually("lost", "ended", func(v view) bool { return v.Status.Phase == "Failed" })
	if c := v.Status.Containers[0]; c.ExitCode != nil || c.Reason != "ExitStatusLost" {
		t.Errorf("container %+v", c)
	}
}

// After a reboot a pod has failed, and what it had elsewhere is released.
func TestReboot(t *testing.T) {
	s := start(t)
	s.apply(pod("old", `{name: c, image: busybox, `+forever+`}`))
	v := s.inspect("old")
	kill(t, v.Supervisor)
	kill(t, v.Status.Containers[0].Pid)
	path := s.root + "/runtime/pods/default_old/status.json"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	other := strings.ReplaceAll(string(data), strings.TrimSpace(string(boot)), "11111111-2222-3333-4444-555555555555")
	if err := os.WriteFile(path, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	v = s.eventually("old", "failed", func(v view) bool { return v.Status.Phase == "Failed" && v.Status.Released })
	if v.Status.Reason != "NodeRebooted" {
		t.Errorf("reason %q", v.Status.Reason)
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("no pid: %d", pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if !alive(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("process %d does not end", pid)
}

func alive(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(data), ") Z ")
}
