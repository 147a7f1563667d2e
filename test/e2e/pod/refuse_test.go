package pod_test

import (
	"os"
	"strings"
	"testing"
)

// Each fault is named with its cause, where it was met, and `why` tells of
// it; then the pod can be removed.
func TestFaults(t *testing.T) {
	s := start(t)
	c := func(rest string) string { return pod("bad", `spec:restartPolicy: Never`, `{name: c, `+rest+`}`) }
	for _, f := range []struct {
		name, manifest string
		want           []string
	}{
		{"image missing", c(`image: nowhere.invalid/none:1, imagePullPolicy: Never`), []string{`container "c"`, "nowhere.invalid/none:1", "varve image"}},
		{"no such command", c(`image: busybox, command: [/none]`), []string{`container "c"`, "/none"}},
		{"no such user", c(`image: busybox, securityContext: {runAsNonRoot: true}`), []string{"runAsNonRoot", "set runAsUser"}},
		{"claim missing", pod("bad", `{name: c, image: busybox}`, `spec:volumes: [{name: v, persistentVolumeClaim: {claimName: none}}]`), []string{"volume none: not found", "varve volume create"}},
		{"host path missing", pod("bad", `{name: c, image: busybox}`, `spec:volumes: [{name: v, hostPath: {path: /none, type: Directory}}]`), []string{"hostPath /none", "Directory"}},
		{"init fails", pod("bad", `spec:restartPolicy: Never`, `spec:initContainers: [{name: i, image: busybox, command: [sh, -c, "exit 9"]}]`, `{name: c, image: busybox}`), []string{`init container "i" failed`, "exit status 9"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			r := s.varve(f.manifest, "run", "-")
			if r.code != 1 {
				t.Errorf("exit %d", r.code)
			}
			has(t, r.err, append(f.want, "varve why bad")...)
			has(t, s.must("why", "bad"), f.want[0])
			v := s.eventually("bad", "released", func(v view) bool { return v.Status.Released })
			if v.Status.Phase != "Failed" {
				t.Errorf("status %+v", v.Status)
			}
			s.must("pod", "rm", "bad")
		})
	}
}

// What is wrong with a manifest is said by its path, with exit 1, and
// nothing is made.
func TestRefused(t *testing.T) {
	s := start(t)
	r := s.varve(pod("a", `spec:hostPID: true`, `{name: c, image: busybox, lifecycle: {}, tty: true}`), "run", "-")
	if r.code != 1 {
		t.Errorf("exit %d", r.code)
	}
	has(t, r.err, "spec.hostPID: not supported", "spec.containers[0].lifecycle: not supported", "spec.containers[0].tty: not supported")
	if len(s.list()) != 0 {
		t.Error("a pod was made")
	}
	for _, args := range [][]string{
		{"run"}, {"run", "a", "b"}, {"pod", "rm"}, {"pod", "exec", "a"}, {"pod", "ls", "-o", "xml"}, {"pod", "inspect", "A_B"},
		{"nonsense"}, {"pod", "stop", "-t", "-1", "a"}, {"--root", "relative", "pod", "ls"}, {"pod", "ls", "--none"},
	} {
		if r := s.varve("", args...); r.code != 2 {
			t.Errorf("varve %s: exit %d, want 2: %s", strings.Join(args, " "), r.code, r.err)
		}
	}
	for _, args := range [][]string{{"pod", "rm", "none"}, {"pod", "logs", "none"}, {"why", "none"}, {"run", "/none"}} {
		if r := s.varve("", args...); r.code != 1 || r.err == "" {
			t.Errorf("varve %s: %+v", strings.Join(args, " "), r)
		}
	}
}

// Two pods of one name: the second is refused, and harms nothing.
func TestTwice(t *testing.T) {
	s := start(t)
	m := pod("one", `{name: c, image: busybox, `+forever+`}`)
	s.apply(m)
	was := s.inspect("one")
	if r := s.varve(m, "run", "-"); r.code != 1 || !strings.Contains(r.err, "pod exists") {
		t.Errorf("%+v", r)
	}
	if is := s.inspect("one"); is.Metadata.UID != was.Metadata.UID || is.Status.Phase != "Running" {
		t.Errorf("was %+v, is %+v", was, is)
	}
}

// Without its daemons a pod runs on and can be killed; what they hold is
// named, and goes once they are back.
func TestDaemonsDown(t *testing.T) {
	s := own(t, "down")
	s.apply(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {resources: {requests: {storage: 32Mi}}}
---
` + pod("alone", `{name: c, image: busybox, `+forever+`, volumeMounts: [{name: v, mountPath: /v}]}`,
		`spec:volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]`))
	if r := s.varve("", "down"); r.code != 1 || !strings.Contains(r.err, "pod alone runs") {
		t.Errorf("down with a pod: %+v", r)
	}
	s.must("down", "--force")
	s.exec("alone", "touch", "/v/still-here")
	pid := s.inspect("alone").Status.Containers[0].Pid
	r := s.varve("", "pod", "rm", "-f", "alone")
	if r.code != 1 {
		t.Errorf("exit %d", r.code)
	}
	has(t, r.err, "overlay.sock", "csi.sock", "varve up")
	if alive(pid) {
		t.Error("its container still runs")
	}
	has(t, s.must("pod", "ls"), "RemovePending")
	s.must("up") // repairs
	for range 100 {
		if len(s.list()) == 0 {
			break
		}
	}
	if left := s.list(); len(left) != 0 {
		t.Errorf("still there: %+v", left)
	}
	s.must("volume", "rm", "data")
}

// The image's user database is the image's: a link out of the root finds
// nothing of the host's.
func TestHostileUser(t *testing.T) {
	s := start(t)
	host, err := os.ReadFile("/etc/passwd")
	if err != nil || !strings.Contains(string(host), "\ndaemon:") {
		t.Fatalf("the host has no user daemon to be taken for the image's: %v", err)
	}
	r := s.varve(pod("h", `spec:restartPolicy: Never`, `{name: c, image: "hostile:1"}`), "run", "-")
	if r.code != 1 || !strings.Contains(r.err, `user "daemon"`) {
		t.Errorf("%+v", r)
	}
}
