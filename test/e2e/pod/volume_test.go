package pod_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const claim = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: NAME}
spec: SPEC
---
`

func claimOf(name, spec string) string {
	return strings.NewReplacer("NAME", name, "SPEC", spec).Replace(claim)
}

// What a pod wrote is in the snapshot and in what is restored from it, and
// what came later is not.
func TestSnapshotRestore(t *testing.T) {
	s := start(t)
	s.apply(claimOf("data", `{resources: {requests: {storage: 32Mi}}}`) +
		pod("w", `{name: c, image: busybox, `+forever+`, volumeMounts: [{name: v, mountPath: /v}]}`,
			`spec:volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]`))
	s.exec("w", "sh", "-c", "dd if=/dev/urandom of=/v/x bs=1M count=4 2>/dev/null; sync")
	sum := s.exec("w", "sha256sum", "/v/x")
	s.must("volume", "snapshot", "data", "snap")
	s.exec("w", "sh", "-c", "rm /v/x; echo later > /v/later; sync")
	s.apply(claimOf("copy", `{resources: {requests: {storage: 32Mi}},
  dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: snap}}`) +
		pod("r", `{name: c, image: busybox, `+forever+`, volumeMounts: [{name: v, mountPath: /v}]}`,
			`spec:volumes: [{name: v, persistentVolumeClaim: {claimName: copy}}]`))
	if got := s.exec("r", "sha256sum", "/v/x"); got != sum {
		t.Errorf("restored %q, want %q", got, sum)
	}
	if r := s.varve("", "pod", "exec", "r", "--", "cat", "/v/later"); r.code == 0 {
		t.Error("the restored volume has what was written after the snapshot")
	}
	if r := s.varve("", "volume", "rm", "data"); r.code != 1 || !strings.Contains(r.err, "in use") {
		t.Errorf("rm of a volume in use: %+v", r)
	}
	s.must("pod", "rm", "-f", "w", "r")
	s.must("volume", "rm", "data", "copy")
	s.must("volume", "rm", "--snapshot", "snap")
	var all struct{ Volumes, Snapshots []any }
	if err := json.Unmarshal([]byte(s.must("volume", "ls", "-o", "json")), &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Volumes)+len(all.Snapshots) != 0 {
		t.Errorf("left: %+v", all)
	}
}

// A raw block volume is a device in the container, which may use it and no
// other; it grows while it is in use.
func TestBlockVolume(t *testing.T) {
	s := start(t)
	s.apply(claimOf("raw", `{volumeMode: Block, resources: {requests: {storage: 32Mi}}}`) +
		pod("b", `{name: c, image: busybox, `+forever+`, volumeDevices: [{name: v, devicePath: /dev/xvda}]}`,
			`spec:volumes: [{name: v, persistentVolumeClaim: {claimName: raw}}]`))
	if got := s.exec("b", "blockdev", "--getsize64", "/dev/xvda"); got != "33554432" {
		t.Errorf("size %s", got)
	}
	s.exec("b", "sh", "-c", "echo written > /dev/xvda")
	if got := s.exec("b", "sh", "-c", "head -c 7 /dev/xvda"); got != "written" {
		t.Errorf("read %q", got)
	}
	s.must("volume", "resize", "raw", "--size", "64Mi")
	if got := s.exec("b", "blockdev", "--getsize64", "/dev/xvda"); got != "67108864" {
		t.Errorf("size after resize %s", got)
	}
	s.must("pod", "rm", "-f", "b")
	s.must("volume", "rm", "raw")
}

func TestClaimAgain(t *testing.T) {
	s := start(t)
	m := claimOf("c", `{resources: {requests: {storage: 32Mi}}}`)
	s.mustIn(m, "run", "-")
	s.mustIn(m, "run", "-") // the same claim is no error
	other := claimOf("c", `{resources: {requests: {storage: 64Mi}}}`)
	if r := s.varve(other, "run", "-"); r.code != 1 || !strings.Contains(r.err, "made otherwise") {
		t.Errorf("%+v", r)
	}
	s.must("volume", "rm", "c")
	if r := s.varve("", "volume", "rm", "c"); r.code != 1 || !strings.Contains(r.err, "not found") {
		t.Errorf("%+v", r)
	}
}

func TestHostPath(t *testing.T) {
	s := start(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.apply(pod("h", `{name: c, image: busybox, `+forever+`, volumeMounts: [
		{name: dir, mountPath: /dir, readOnly: true}, {name: file, mountPath: /etc/one}, {name: made, mountPath: /made}]}`,
		`spec:volumes:
- {name: dir, hostPath: {path: `+dir+`, type: Directory}}
- {name: file, hostPath: {path: `+dir+`/file, type: File}}
- {name: made, hostPath: {path: `+dir+`/made, type: DirectoryOrCreate}}`))
	if got := s.exec("h", "cat", "/dir/file", "/etc/one"); got != "host\nhost" {
		t.Errorf("read %q", got)
	}
	if r := s.varve("", "pod", "exec", "h", "--", "touch", "/dir/x"); r.code == 0 {
		t.Error("wrote to a read-only host path")
	}
	s.exec("h", "touch", "/made/x")
	if _, err := os.Stat(filepath.Join(dir, "made", "x")); err != nil {
		t.Error(err)
	}
}
