package volume_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/varve-project/varve/runtime/pod"
	"github.com/varve-project/varve/runtime/volume"
)

const (
	makes     = csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME
	snapshots = csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT
	attaches  = csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME
	expands   = csi.ControllerServiceCapability_RPC_EXPAND_VOLUME
	stages    = csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME
)

func can(c ...csi.ControllerServiceCapability_RPC_Type) *driver { return &driver{controller: c} }

func create(t *testing.T, s *volume.Store, k pod.Key, r volume.Request) *volume.Volume {
	t.Helper()
	v, err := s.Create(t.Context(), k, r)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// says checks an error by its words.
func says(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v does not say %q", err, w)
		}
	}
}

func TestCreateMayBeRepeated(t *testing.T) {
	d := can(makes)
	s := open(t, d)
	r := volume.Request{Bytes: 1 << 20, AccessModes: []string{"ReadWriteOnce"}}
	first := create(t, s, key, r)
	if again := create(t, s, key, r); again.ID != first.ID || again.State != volume.Ready {
		t.Errorf("again it is %+v, it was %+v", again, first)
	}
	d.asked(t, "create")
	r.Bytes *= 2
	if _, err := s.Create(t.Context(), key, r); !errors.Is(err, volume.ErrExists) {
		t.Errorf("another request under the same name: %v, want ErrExists", err)
	}
	d.asked(t)
	if err := s.Remove(t.Context(), key); err != nil {
		t.Error(err)
	}
	d.asked(t, "delete")
	if err := s.Remove(t.Context(), key); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("Remove of what is gone: %v, want ErrNotFound", err)
	}
}

// TestCreateThatFails: after a refusal nothing stays. After any other error
// the driver may have made the volume: it is asked for the same name again,
// and before it is removed for its id.
func TestCreateThatFails(t *testing.T) {
	d := can(makes)
	s := open(t, d)
	for code, stays := range map[codes.Code]bool{codes.ResourceExhausted: false, codes.Internal: true, codes.DeadlineExceeded: true} {
		k := pod.Key{Namespace: "default", Name: strings.ToLower(code.String())}
		d.fail["create"] = status.Error(code, "planted")
		if _, err := s.Create(t.Context(), k, volume.Request{Bytes: 1}); status.Code(err) != code {
			t.Errorf("%v: Create: %v", code, err)
		}
		v, err := s.Get(k)
		if stays != (err == nil) {
			t.Errorf("%v: the record is %+v, %v", code, v, err)
		}
		if !stays {
			continue
		}
		if code == codes.Internal {
			if again := create(t, s, k, volume.Request{Bytes: 1}); again.Handle != v.Handle {
				t.Errorf("asked again for %q, first for %q", again.Handle, v.Handle)
			}
		}
		d.calls = nil
		if err := s.Remove(t.Context(), k); err != nil {
			t.Error(err)
		}
		if want := []string{"create", "delete"}; code == codes.DeadlineExceeded {
			d.asked(t, want...)
		}
	}
}

// TestWhatTheDriverCannotDo is said before anything is written.
func TestWhatTheDriverCannotDo(t *testing.T) {
	s := open(t, can(attaches))
	_, err := s.Create(t.Context(), key, volume.Request{Bytes: 1})
	says(t, err, "test.example cannot make volumes", "CREATE_DELETE_VOLUME")
	s = open(t, can(makes))
	create(t, s, key, volume.Request{Bytes: 1})
	other := pod.Key{Namespace: "default", Name: "other"}
	_, err = s.Create(t.Context(), other, volume.Request{Bytes: 1, Snapshot: "s"})
	says(t, err, "cannot restore snapshots")
	_, err = s.Create(t.Context(), other, volume.Request{Bytes: 1, Volume: key.Name})
	says(t, err, "cannot clone volumes")
	_, err = s.TakeSnapshot(t.Context(), key, other)
	says(t, err, "cannot take snapshots")
	_, err = s.Resize(t.Context(), key, 2)
	says(t, err, "cannot grow volumes")
	if all, err := s.List(); len(all) != 1 || err != nil {
		t.Errorf("volumes %v, %v; want one", all, err)
	}
	_, err = s.CreateFor(t.Context(), other, volume.Request{Bytes: 1}, &storagev1.StorageClass{Provisioner: "another.example"})
	says(t, err, `provisioner "another.example"`, `is "test.example"`)
}

// TestWhatTheDriverIsTold: access mode, kind, topology where it matters.
func TestWhatTheDriverIsTold(t *testing.T) {
	d := can(makes)
	d.topology = true
	s := open(t, d)
	modes := map[string]csi.VolumeCapability_AccessMode_Mode{
		"ReadWriteOnce": csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER,
		"ReadOnlyMany":  csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY,
		"ReadWriteMany": csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER,
	}
	for mode, want := range modes {
		block := mode == "ReadWriteMany"
		create(t, s, pod.Key{Namespace: "default", Name: mode}, volume.Request{Bytes: 5, FSType: "xfs", Block: block, AccessModes: []string{mode}})
		got := d.created[len(d.created)-1]
		c := got.GetVolumeCapabilities()[0]
		if c.GetAccessMode().GetMode() != want || (c.GetBlock() != nil) != block || !block && c.GetMount().GetFsType() != "xfs" {
			t.Errorf("%s: asked for %v", mode, c)
		}
		if zone := got.GetAccessibilityRequirements().GetRequisite()[0].GetSegments()["zone"]; zone != "a" {
			t.Errorf("topology %q", zone)
		}
	}
}

func TestSnapshots(t *testing.T) {
	d := can(makes, snapshots)
	s := open(t, d)
	name := pod.Key{Namespace: "default", Name: "snap"}
	create(t, s, key, volume.Request{Bytes: 1})
	other := pod.Key{Namespace: "default", Name: "other"}
	create(t, s, other, volume.Request{Bytes: 1})
	d.calls, d.pending = nil, 1
	snap, err := s.TakeSnapshot(t.Context(), key, name)
	if err != nil || snap.State != volume.Ready || snap.Size != 7 {
		t.Fatalf("snapshot %+v, %v", snap, err)
	}
	d.asked(t, "snapshot", "snapshot") // it was not ready at first
	if _, err := s.TakeSnapshot(t.Context(), key, name); err != nil {
		t.Error("again:", err)
	}
	d.asked(t)
	if _, err := s.TakeSnapshot(t.Context(), other, name); !errors.Is(err, volume.ErrExists) {
		t.Errorf("of another volume: %v, want ErrExists", err)
	}
	_, err = s.TakeSnapshot(t.Context(), key, pod.Key{Namespace: "elsewhere", Name: "snap"})
	says(t, err, "both must be in one namespace")
	create(t, s, pod.Key{Namespace: "default", Name: "restored"}, volume.Request{Bytes: 7, Snapshot: "snap"})
	if from := d.created[len(d.created)-1].GetVolumeContentSource().GetSnapshot().GetSnapshotId(); from != snap.ID {
		t.Errorf("restored from %q, want %q", from, snap.ID)
	}
	if err := s.RemoveSnapshot(t.Context(), name); err != nil {
		t.Error(err)
	}
	if err := s.RemoveSnapshot(t.Context(), name); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("again: %v, want ErrNotFound", err)
	}
}
