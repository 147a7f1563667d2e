package pod_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-project/varve/runtime/config"
)

const web = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {resources: {requests: {storage: 64Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  hostname: www
  hostAliases: [{ip: 192.0.2.7, hostnames: [db.example]}]
  dnsPolicy: None
  dnsConfig: {nameservers: [192.0.2.53], searches: [example], options: [{name: ndots, value: "2"}]}
  initContainers:
  - name: fill
    image: busybox
    command: [sh, -c, "echo one > /data/index.html"]
    volumeMounts: [{name: data, mountPath: /data}]
  - name: add
    image: busybox
    command: [sh, -c, "echo two >> /data/index.html"]
    volumeMounts: [{name: data, mountPath: /data}]
  containers:
  - name: httpd
    image: busybox
    command: [httpd, -f, -p, "80", -h, /data]
    ports: [{name: http, containerPort: 80, hostPort: 18080}]
    resources: {limits: {cpu: 500m, memory: 48Mi}, requests: {cpu: 250m}}
    readinessProbe: {httpGet: {port: http, path: /index.html}, periodSeconds: 1}
    livenessProbe: {exec: {command: [test, -e, /data/index.html]}, periodSeconds: 1, timeoutSeconds: 10}
    securityContext:
      runAsUser: 1000
      runAsGroup: 2000
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}
    volumeMounts: [{name: data, mountPath: /data, readOnly: true}, {name: both, mountPath: /both}]
  - name: side
    image: busybox
    env: [{name: A, value: a}, {name: B, value: "$(A)b"}]
    command: [sh, -c]
    args: ["trap 'exit 0' TERM; echo $(B) to stdout; echo to stderr >&2; while :; do sleep 1 & wait; done"]
    volumeMounts: [{name: both, mountPath: /both}, {name: mem, mountPath: /mem}]
  securityContext: {supplementalGroups: [3000]}
  volumes:
  - {name: data, persistentVolumeClaim: {claimName: data}}
  - {name: both, emptyDir: {}}
  - {name: mem, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
`

// TestWholePod is a pod with about everything that is served.
func TestWholePod(t *testing.T) {
	s := start(t)
	s.apply(web)
	v := s.inspect("web")
	if v.Status.Phase != "Running" || !v.Status.Ready || len(v.Status.IPs) != 2 {
		t.Fatalf("status %+v", v.Status)
	}
	in := func(c string, args ...string) string {
		t.Helper()
		return strings.TrimSpace(s.must(append([]string{"pod", "exec", "web", "-c", c, "--"}, args...)...))
	}

	t.Run("network", func(t *testing.T) {
		for _, ip := range v.Status.IPs {
			host := ip
			if strings.Contains(ip, ":") {
				host = "[" + ip + "]"
			}
			out, err := exec.Command("curl", "-sS", "-m", "5", "http://"+host+"/index.html").CombinedOutput()
			if err != nil || string(out) != "one\ntwo\n" {
				t.Errorf("GET from %s: %q, %v", host, out, err)
			}
		}
		// The two containers share one network namespace.
		has(t, in("side", "wget", "-q", "-O", "-", "http://127.0.0.1/index.html"), "one\ntwo")
	})
	t.Run("identity", func(t *testing.T) {
		has(t, in("httpd", "id"), "uid=1000", "gid=2000", "3000")
		status := in("httpd", "cat", "/proc/self/status")
		has(t, status, "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2")
		if r := s.varve("", "pod", "exec", "web", "-c", "httpd", "--", "touch", "/x"); r.code == 0 {
			t.Error("wrote to a read-only root")
		}
		if r := s.varve("", "pod", "exec", "web", "-c", "httpd", "--", "touch", "/data/x"); r.code == 0 {
			t.Error("wrote to a read-only volume")
		}
		// containerd's default capabilities, as root.
		has(t, in("side", "cat", "/proc/self/status"), "CapEff:\t00000000a80425fb", "Seccomp:\t2")
	})
	t.Run("names", func(t *testing.T) {
		for _, c := range []string{"httpd", "side"} {
			if got := in(c, "hostname"); got != "www" {
				t.Errorf("host name %q", got)
			}
		}
		has(t, in("side", "cat", "/etc/hosts"), "192.0.2.7\tdb.example", v.Status.IPs[0]+"\twww", v.Status.IPs[1]+"\twww")
		if got, want := in("side", "cat", "/etc/resolv.conf"), "nameserver 192.0.2.53\nsearch example\noptions ndots:2"; got != want {
			t.Errorf("resolv.conf:\n%s", got)
		}
	})
	t.Run("volumes", func(t *testing.T) {
		in("side", "sh", "-c", "echo x > /both/x")
		if got := in("httpd", "cat", "/both/x"); got != "x" {
			t.Errorf("emptyDir: %q", got)
		}
		if r := s.varve("", "pod", "exec", "web", "-c", "side", "--", "dd", "if=/dev/zero", "of=/mem/x", "bs=1M", "count=2"); r.code == 0 {
			t.Error("wrote 2 MiB to a memory volume of 1 MiB")
		}
		in("side", "sh", "-c", "echo y > /dev/shm/y")
		if got := in("httpd", "cat", "/dev/shm/y"); got != "y" {
			t.Errorf("/dev/shm: %q", got)
		}
	})
	t.Run("limits", func(t *testing.T) { s.checkLimits(t, v.Metadata.UID) })
	t.Run("logs", func(t *testing.T) {
		r := s.varve("", "pod", "logs", "web", "-c", "side")
		if r.out != "ab to stdout\n" || r.err != "to stderr\n" {
			t.Errorf("logs: %+v", r)
		}
		if r := s.varve("", "pod", "logs", "web"); r.code != 2 || !strings.Contains(r.err, "name one with -c") {
			t.Errorf("logs without a container: %+v", r)
		}
		if r := s.varve("", "pod", "logs", "web", "-c", "none"); r.code != 1 || !strings.Contains(r.err, `no container "none"`) {
			t.Errorf("logs of no container: %+v", r)
		}
	})
	t.Run("exec", func(t *testing.T) {
		if r := s.varve("", "pod", "exec", "web", "-c", "side", "--", "sh", "-c", "exit 7"); r.code != 7 {
			t.Errorf("exit %d", r.code)
		}
		if r := s.varve("to stdin", "pod", "exec", "-i", "web", "-c", "side", "--", "cat"); r.out != "to stdin" {
			t.Errorf("stdin: %+v", r)
		}
		if r := s.varve("to stdin", "pod", "exec", "web", "-c", "side", "--", "cat"); r.out != "" {
			t.Errorf("without -i: %+v", r)
		}
	})
	t.Run("stop", func(t *testing.T) {
		if r := s.varve("", "pod", "rm", "web"); r.code != 1 || !strings.Contains(r.err, "use -f") {
			t.Errorf("rm of a running pod: %+v", r)
		}
		s.must("pod", "stop", "web")
		v := s.inspect("web")
		if !v.Status.Released || v.Status.Reason != "Stopped" || v.Supervisor != 0 {
			t.Errorf("status %+v", v)
		}
		if out := s.must("pod", "logs", "web", "-c", "side"); out != "ab to stdout\n" {
			t.Errorf("logs of a stopped pod: %q", out)
		}
		s.must("pod", "stop", "web") // again
		s.must("pod", "rm", "web")
		s.must("volume", "rm", "data")
	})
}

// checkLimits reads the limits where the kernel has them.
func (s *suite) checkLimits(t *testing.T, uid string) {
	parent := config.Config{Root: s.root}.CgroupParent()
	read := func(paths ...string) string {
		for _, p := range paths {
			data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", fmt.Sprintf(p, parent+"/"+uid+"/httpd")))
			if err == nil {
				return strings.TrimSpace(string(data))
			}
		}
		t.Errorf("none of %v", paths)
		return ""
	}
	for _, c := range []struct {
		want   []string
		v1, v2 string
	}{
		{[]string{"50331648"}, "memory/%s/memory.limit_in_bytes", "%s/memory.max"},
		{[]string{"50000", "50000 100000"}, "cpu/%s/cpu.cfs_quota_us", "%s/cpu.max"},
	} {
		got := read(c.v1, c.v2)
		ok := false
		for _, w := range c.want {
			ok = ok || got == w
		}
		if !ok {
			t.Errorf("%s or %s: %q, want one of %q", c.v1, c.v2, got, c.want)
		}
	}
}
