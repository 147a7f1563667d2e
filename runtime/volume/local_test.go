package volume_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/varve-project/varve/runtime/volume"
)

func TestHostPath(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "file"), filepath.Join(dir, "s")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	// By the order of paths: a folder, a file, a socket, a character device,
	// nothing. y is served, n is refused, m is made.
	paths := []string{dir, file, socket, "/dev/null", filepath.Join(dir, "absent")}
	for kind, want := range map[corev1.HostPathType]string{
		corev1.HostPathUnset:             "yyyym",
		corev1.HostPathDirectoryOrCreate: "ynnnm",
		corev1.HostPathDirectory:         "ynnnn",
		corev1.HostPathFileOrCreate:      "nynnm",
		corev1.HostPathFile:              "nynnn",
		corev1.HostPathSocket:            "nnynn",
		corev1.HostPathCharDev:           "nnnyn",
		corev1.HostPathBlockDev:          "nnnnn",
	} {
		for i, path := range paths {
			err := volume.HostPath(&corev1.HostPathVolumeSource{Path: path, Type: &kind})
			if (err == nil) != (want[i] != 'n') {
				t.Errorf("%s as %q: %v, want %c", path, kind, err, want[i])
			}
		}
		info, err := os.Lstat(paths[4])
		if made := err == nil; made != (want[4] == 'm') || made && info.IsDir() == (kind == corev1.HostPathFileOrCreate) {
			t.Errorf("%q made %v, %v", kind, info, err)
		}
		if err := os.RemoveAll(paths[4]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEmptyDir(t *testing.T) {
	needRoot(t)
	defer unix.Umask(unix.Umask(0o077))
	size := resource.MustParse("4Mi")
	for _, e := range []*corev1.EmptyDirVolumeSource{{}, {Medium: corev1.StorageMediumMemory, SizeLimit: &size}} {
		path := filepath.Join(t.TempDir(), "a", "b")
		for range 2 { // again
			if err := volume.EmptyDir(path, e); err != nil {
				t.Fatal(err)
			}
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o777 {
			t.Errorf("medium %q: mode %v, %v; want everybody's", e.Medium, info.Mode(), err)
		}
		var st unix.Statfs_t
		if err := unix.Statfs(path, &st); err != nil {
			t.Fatal(err)
		}
		memory := e.Medium != ""
		if volume.IsMount(path) != memory || memory && int64(st.Blocks)*st.Bsize != size.Value() {
			t.Errorf("medium %q: mounted %t, %d bytes", e.Medium, volume.IsMount(path), int64(st.Blocks)*st.Bsize)
		}
		for range 2 {
			if err := volume.RemoveEmptyDir(path); err != nil {
				t.Error(err)
			}
		}
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("medium %q: it is still there", e.Medium)
		}
	}
}

func TestRequestOf(t *testing.T) {
	name, mode := "fast", corev1.PersistentVolumeFilesystem
	class := &storagev1.StorageClass{
		Provisioner:  "test.example",
		MountOptions: []string{"noatime"},
		Parameters:   map[string]string{"csi.storage.k8s.io/fstype": "xfs", "tier": "1"},
	}
	class.Name = name
	claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeMode: &mode, StorageClassName: &name,
		Resources:  corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Ki")}},
		DataSource: &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "from"},
	}}
	find := func(string) *storagev1.StorageClass { return class }
	r, err := volume.RequestOf(claim, find)
	if err != nil || r.Bytes != 1024 || r.Limit != 0 || r.Block || r.FSType != "xfs" || r.Volume != "from" || r.Snapshot != "" ||
		len(r.Parameters) != 1 || r.Parameters["tier"] != "1" || len(r.MountFlags) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if len(class.Parameters) != 2 {
		t.Error("the class was changed:", class.Parameters)
	}
	class.Parameters["csi.storage.k8s.io/node-stage-secret-name"] = "s"
	_, err = volume.RequestOf(claim, find)
	says(t, err, "StorageClass fast", "node-stage-secret-name", "not supported")
}
