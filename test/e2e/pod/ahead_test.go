package pod_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// slowNetwork is a network whose plug-in answers ADD once release is called.
// It returns the flags that choose it.
func slowNetwork(t *testing.T) (flags []string, release func()) {
	t.Helper()
	open := filepath.Join(t.TempDir(), "open")
	plugin := fmt.Sprintf(`#!/bin/sh
[ "$CNI_COMMAND" = ADD ] || exit 0
until [ -e %s ]; do sleep 0.02; done
echo '{"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "'$CNI_NETNS'"}],
  "ips": [{"address": "192.0.2.9/24", "interface": 0}], "dns": {"nameservers": ["192.0.2.53"]}}'
`, open)
	list := `{"cniVersion": "1.0.0", "name": "slow", "plugins": [{"type": "slow"}]}`
	bin, conf := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{filepath.Join(bin, "slow"): plugin, filepath.Join(conf, "slow.conflist"): list} {
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"--cni-conf-dir", conf, "--cni-bin-dir", bin, "--network", "slow"}, func() {
		if err := os.WriteFile(open, nil, 0o600); err != nil {
			t.Error(err)
		}
	}
}

// created waits until the OCI runtime has made the pod's container, without
// running it.
func (s *suite) created(name string) {
	s.t.Helper()
	status := ""
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		r := s.varve("", "pod", "inspect", name)
		var all []view
		if r.code != 0 || json.Unmarshal([]byte(r.out), &all) != nil {
			continue // not yet recorded
		}
		uid := all[0].Metadata.UID
		s.uids[uid] = true
		out, err := exec.Command(s.runc, "--root", filepath.Join(s.state, "runtime", "oci"), "state", uid+"-c").Output()
		var state struct{ Status string }
		if err == nil && json.Unmarshal(out, &state) == nil {
			if status = state.Status; status == "created" {
				return
			}
		}
	}
	s.t.Fatalf("the container is %q, want it created while the pod joins its network\n%s", status, s.must("why", name))
}

// TestContainersWaitForTheNetwork: a container is made while the plug-in is at
// work, and runs no instruction before it has answered.
func TestContainersWaitForTheNetwork(t *testing.T) {
	flags, release := slowNetwork(t) // first, for it outlives the pods
	s := start(t)
	defer release()
	seen := filepath.Join(t.TempDir(), "seen")
	if err := os.Mkdir(seen, 0o755); err != nil {
		t.Fatal(err)
	}
	manifest := pod("waits", "spec:\nrestartPolicy: Never\nvolumes: [{name: seen, hostPath: {path: "+seen+"}}]",
		`{name: c, image: busybox, command: [sh, -c, "cat /etc/hosts /etc/resolv.conf >/seen/it"], volumeMounts: [{name: seen, mountPath: /seen}]}`)
	answer := make(chan result, 1)
	go func() { answer <- s.varve(manifest, append(flags, "run", "-")...) }()
	s.created("waits")
	if _, err := os.Stat(filepath.Join(seen, "it")); err == nil {
		t.Error("the container ran before the pod had a network")
	}
	release()
	if r := <-answer; r.code != 0 {
		t.Fatalf("varve run: %+v", r)
	}
	var text []byte
	for end := time.Now().Add(20 * time.Second); len(text) == 0 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text, _ = os.ReadFile(filepath.Join(seen, "it"))
	}
	for _, want := range []string{"192.0.2.9\twaits", "nameserver 192.0.2.53"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the container saw %q, want %q in it", text, want)
		}
	}
}

// TestStopWhileJoining: the container that was made and has not begun goes.
func TestStopWhileJoining(t *testing.T) {
	flags, release := slowNetwork(t) // first, for it outlives the pods
	s := start(t)
	defer release()
	answer, stopped := make(chan result, 1), make(chan result, 1)
	go func() {
		answer <- s.varve(pod("joining", `{name: c, image: busybox, `+forever+`}`), append(flags, "run", "-")...)
	}()
	s.created("joining")
	go func() { stopped <- s.varve("", "pod", "stop", "-t", "0", "joining") }()
	time.Sleep(300 * time.Millisecond) // whoever is first, nothing may stay
	release()
	<-answer
	if r := <-stopped; r.code != 0 {
		t.Fatalf("varve pod stop: %+v", r)
	}
	v := s.inspect("joining")
	if !v.Status.Released || v.Status.Reason != "Stopped" || v.Status.Containers[0].State != "terminated" {
		t.Errorf("status %+v", v.Status)
	}
}
