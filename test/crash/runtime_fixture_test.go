package crash_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
)

var manifests = map[string]string{
	"claim.yaml": `apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
`,
	// What a pod can have: an init container, a claimed volume, scratch
	// folders on disk and in memory, a folder of the host, a host port.
	"web.yaml": `apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
  - name: init
    image: crash
    command: [/bin/busybox, sh, -c, "/bin/busybox echo treasure >/data/index.html"]
    volumeMounts: [{name: data, mountPath: /data}]
  containers:
  - name: httpd
    image: crash
    command: [/bin/busybox, httpd, -f, -p, "80", -h, /data]
    ports: [{containerPort: 80, hostPort: 8080}]
    volumeMounts:
    - {name: data, mountPath: /data}
    - {name: scratch, mountPath: /scratch}
    - {name: memory, mountPath: /memory}
    - {name: host, mountPath: /host}
  volumes:
  - {name: data, persistentVolumeClaim: {claimName: data}}
  - {name: scratch, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory}}
  - {name: host, hostPath: {path: DIR/host, type: DirectoryOrCreate}}
`,
}

// image is a docker archive with one layer, in which there is busybox.
func image(t testing.TB) []byte {
	t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	layer := archive(t, map[string][]byte{"bin/busybox": busybox})
	config := fmt.Appendf(nil, `{"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [%q]}}`, digest.FromBytes(layer))
	return archive(t, map[string][]byte{
		"layer.tar": layer, "config.json": config,
		"manifest.json": []byte(`[{"Config": "config.json", "RepoTags": ["crash:latest"], "Layers": ["layer.tar"]}]`),
	})
}

func archive(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(files[name])), Typeflag: tar.TypeReg})
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
