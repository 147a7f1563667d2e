package csi_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// says fails the test unless err has that code and its text names all words.
func says(t *testing.T, err error, code codes.Code, words ...string) {
	t.Helper()
	wants(t, err, code)
	for _, word := range words {
		if !strings.Contains(status.Convert(err).Message(), word) {
			t.Errorf("%q does not name %q", status.Convert(err).Message(), word)
		}
	}
}

func TestCreateVolumeAnswers(t *testing.T) {
	d := start(t, "--store-size", "2GiB")
	id := d.create(sized("v", mounted("ext4"), 64*mib))
	if again := d.create(sized("v", mounted("ext4"), 64*mib)); again != id {
		t.Errorf("the same name gives %s and %s", id, again)
	}
	snap := d.snapshot("s", id)
	change := func(f func(*csi.CreateVolumeRequest)) *csi.CreateVolumeRequest {
		r := sized("other", mounted("ext4"), 64*mib)
		f(r)
		return r
	}
	for name, c := range map[string]struct {
		r     *csi.CreateVolumeRequest
		code  codes.Code
		words string
	}{
		"other size":   {sized("v", mounted("ext4"), 128*mib), codes.AlreadyExists, "capacity"},
		"other fs":     {sized("v", mounted("xfs"), 64*mib), codes.AlreadyExists, "fs_type"},
		"other source": {change(func(r *csi.CreateVolumeRequest) { r.Name = "v"; r.VolumeContentSource = fromVolume(id) }), codes.AlreadyExists, "volume_content_source"},
		"other parameters": {change(func(r *csi.CreateVolumeRequest) {
			r.Name = "v"
			r.Parameters = map[string]string{"csi.storage.k8s.io/pv/name": "x"}
		}), codes.AlreadyExists, "parameters"},
		"unknown parameter": {change(func(r *csi.CreateVolumeRequest) { r.Parameters = map[string]string{"colour": "blue"} }), codes.InvalidArgument, `parameters["colour"]`},
		"mutable parameter": {change(func(r *csi.CreateVolumeRequest) { r.MutableParameters = map[string]string{"iops": "9"} }), codes.InvalidArgument, `mutable_parameters["iops"]`},
		"secret":            {change(func(r *csi.CreateVolumeRequest) { r.Secrets = map[string]string{"key": "hunter2"} }), codes.InvalidArgument, `secrets["key"]`},
		"long name":         {change(func(r *csi.CreateVolumeRequest) { r.Name = strings.Repeat("n", 129) }), codes.InvalidArgument, "128"},
		"control character": {change(func(r *csi.CreateVolumeRequest) { r.Name = "a\x01b" }), codes.InvalidArgument, "U+0001"},
		"negative size":     {sized("other", mounted("ext4"), -1), codes.InvalidArgument, "required_bytes"},
		"contradiction": {change(func(r *csi.CreateVolumeRequest) {
			r.CapacityRange = &csi.CapacityRange{RequiredBytes: 2, LimitBytes: 1}
		}), codes.OutOfRange, "limit_bytes"},
		"too small a limit":  {change(func(r *csi.CreateVolumeRequest) { r.CapacityRange = &csi.CapacityRange{LimitBytes: mib} }), codes.OutOfRange, "limit_bytes"},
		"too large":          {sized("other", mounted("ext4"), 1<<62), codes.OutOfRange, "required_bytes"},
		"more than there is": {sized("other", mounted("ext4"), 100*gib), codes.ResourceExhausted, "enlarge the store"},
		"many nodes":         {sized("other", with(raw(), csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER), mib), codes.InvalidArgument, "MULTI_NODE_MULTI_WRITER"},
		"unknown fs":         {sized("other", mounted("ntfs"), mib), codes.InvalidArgument, "ntfs"},
		"bind":               {sized("other", mounted("ext4", "bind"), mib), codes.InvalidArgument, "bind"},
		"other node": {change(func(r *csi.CreateVolumeRequest) {
			r.AccessibilityRequirements = &csi.TopologyRequirement{Requisite: []*csi.Topology{
				{Segments: map[string]string{"topology.csi.varve.dev/node": "elsewhere"}}}}
		}), codes.ResourceExhausted, "requisite"},
		"no such snapshot": {change(func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = fromSnapshot("snap-0") }), codes.NotFound, "snap-0"},
		"no such volume":   {change(func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = fromVolume("../../etc") }), codes.NotFound, "etc"},
		"smaller than its snapshot": {change(func(r *csi.CreateVolumeRequest) {
			r.VolumeContentSource = fromSnapshot(snap.GetSnapshotId())
			r.CapacityRange.RequiredBytes = 32 * mib
		}), codes.OutOfRange, "source"},
		"other fs than its snapshot": {change(func(r *csi.CreateVolumeRequest) {
			r.VolumeContentSource = fromSnapshot(snap.GetSnapshotId())
			r.CapacityRange.RequiredBytes = gib
			r.VolumeCapabilities = []*csi.VolumeCapability{mounted("xfs")}
		}), codes.InvalidArgument, "xfs"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.CreateVolume(soon(t), c.r)
			says(t, err, c.code, c.words)
			if strings.Contains(status.Convert(err).Message(), "hunter2") {
				t.Error("the error shows a secret")
			}
		})
	}
	if list := must(d.ListVolumes(soon(t), &csi.ListVolumesRequest{}))(t); len(list.GetEntries()) != 1 {
		t.Errorf("refused calls left %d volumes", len(list.GetEntries()))
	}
	_, err := d.CreateSnapshot(soon(t), &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: "vol-0"})
	says(t, err, codes.AlreadyExists, "source_volume_id")
	_, err = d.CreateSnapshot(soon(t), &csi.CreateSnapshotRequest{Name: "s2", SourceVolumeId: "vol-0"})
	says(t, err, codes.NotFound, "vol-0")
	d.remove(id)
	d.remove(id)
	d.remove("vol-" + strings.Repeat("0", 32))
	d.remove("../../../etc/passwd")
	d.removeSnapshot(snap.GetSnapshotId())
	d.removeSnapshot(snap.GetSnapshotId())
}

func TestPages(t *testing.T) {
	d := start(t, "--store-size", "1GiB")
	var ids []string
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		ids = append(ids, d.create(sized(name, raw(), mib)))
	}
	seen, token := map[string]bool{}, ""
	for page := 0; ; page++ {
		list := must(d.ListVolumes(soon(t), &csi.ListVolumesRequest{MaxEntries: 2, StartingToken: token}))(t)
		for _, e := range list.GetEntries() {
			seen[e.GetVolume().GetVolumeId()] = true
		}
		if page == 0 { // the token of an entry that is gone stays good
			d.remove(list.GetEntries()[1].GetVolume().GetVolumeId())
		}
		if token = list.GetNextToken(); token == "" {
			break
		}
	}
	if len(seen) != len(ids) {
		t.Errorf("pages show %d of %d volumes", len(seen), len(ids))
	}
	_, err := d.ListVolumes(soon(t), &csi.ListVolumesRequest{StartingToken: "7"})
	says(t, err, codes.Aborted, "starting_token")
	_, err = d.ListSnapshots(soon(t), &csi.ListSnapshotsRequest{MaxEntries: -1})
	says(t, err, codes.InvalidArgument, "max_entries")
	for _, id := range ids {
		d.remove(id)
	}
}

func TestNodeAnswers(t *testing.T) {
	d := start(t, "--store-size", "1GiB")
	id := d.create(sized("v", mounted("ext4"), 64*mib))
	u := d.place(id, mounted("ext4"))

	_, err := d.NodePublishVolume(soon(t), u.publish())
	says(t, err, codes.FailedPrecondition, "NodeStageVolume")
	wrong := u.stage()
	wrong.VolumeCapability = mounted("xfs")
	_, err = d.NodeStageVolume(soon(t), wrong)
	says(t, err, codes.FailedPrecondition, "ext4", "xfs", "nothing is ever formatted")
	wrong.VolumeCapability = with(mounted("ext4"), csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY)
	_, err = d.NodeStageVolume(soon(t), wrong)
	says(t, err, codes.FailedPrecondition, "MULTI_NODE_READER_ONLY")
	wrong.VolumeCapability = mounted("ext4", "no-such-option")
	_, err = d.NodeStageVolume(soon(t), wrong)
	says(t, err, codes.InvalidArgument, "no-such-option")
	wrong = u.stage()
	wrong.VolumeContext = map[string]string{"size": "1"}
	_, err = d.NodeStageVolume(soon(t), wrong)
	says(t, err, codes.InvalidArgument, `volume_context["size"]`)
	wrong = u.stage()
	wrong.StagingTargetPath = "relative"
	_, err = d.NodeStageVolume(soon(t), wrong)
	says(t, err, codes.InvalidArgument, "absolute")

	for range 2 {
		must(d.NodeStageVolume(soon(t), u.stage()))(t)
	}
	wrong = u.stage()
	wrong.VolumeCapability = mounted("ext4", "noatime")
	_, err = d.NodeStageVolume(soon(t), wrong)
	says(t, err, codes.AlreadyExists, "noatime")
	for range 2 {
		must(d.NodePublishVolume(soon(t), u.publish()))(t)
	}
	other := u.publish()
	other.Readonly = true
	_, err = d.NodePublishVolume(soon(t), other)
	says(t, err, codes.AlreadyExists, "read-only")
	_, err = d.DeleteVolume(soon(t), &csi.DeleteVolumeRequest{VolumeId: id})
	says(t, err, codes.FailedPrecondition, "in use")
	_, err = d.NodeUnstageVolume(soon(t), u.unstage())
	says(t, err, codes.FailedPrecondition, u.target)
	_, err = d.NodeGetVolumeStats(soon(t), &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: d.dir})
	says(t, err, codes.NotFound)
	stats := must(d.NodeGetVolumeStats(soon(t), &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: u.target}))(t)
	if bytes := stats.GetUsage()[0]; bytes.GetTotal() < 40*mib || bytes.GetAvailable() <= 0 || bytes.GetUsed() < 0 {
		t.Errorf("usage %v", stats)
	}
	for range 2 {
		u.release()
	}
	if _, err := os.Lstat(u.target); !os.IsNotExist(err) {
		t.Errorf("the target is left: %v", err)
	}
	d.remove(id)
}

// How often, and how, a volume may be published depends on its access mode.
func TestAccessModes(t *testing.T) {
	d := start(t, "--store-size", "1GiB")
	for _, c := range []struct {
		mode   mode
		second codes.Code
		write  bool
	}{
		{writer, codes.OK, true},
		{multiWriter, codes.OK, true},
		{singleWriter, codes.FailedPrecondition, true},
		{readerOnly, codes.OK, false},
	} {
		t.Run(c.mode.String(), func(t *testing.T) {
			capability := with(mounted("ext4"), c.mode)
			u := d.use(d.create(sized(c.mode.String(), capability, 64*mib)), capability)
			err := os.WriteFile(filepath.Join(u.target, "x"), nil, 0o600)
			if (err == nil) != c.write {
				t.Errorf("a write: %v", err)
			}
			second := u
			second.target += "-2"
			_, err = d.NodePublishVolume(soon(t), second.publish())
			wants(t, err, c.second)
			must(d.NodeUnpublishVolume(soon(t), second.unpublish()))(t)
			u.release()
			d.remove(u.id)
		})
	}
}

// Read-only is enforced by the kernel, for files and for raw devices, beside a
// target that may write.
func TestReadOnlyTargets(t *testing.T) {
	d := start(t, "--store-size", "1GiB")
	for name, capability := range map[string]*csi.VolumeCapability{"files": mounted("ext4"), "raw": raw()} {
		t.Run(name, func(t *testing.T) {
			u := d.use(d.create(sized(name, capability, 64*mib)), capability)
			reader := u
			reader.target += "-ro"
			r := reader.publish()
			r.Readonly = true
			for range 2 {
				must(d.NodePublishVolume(soon(t), r))(t)
			}
			write := func(target string) error {
				if name == "files" {
					return os.WriteFile(filepath.Join(target, "x"), []byte("x"), 0o600)
				}
				f, err := os.OpenFile(target, os.O_RDWR, 0)
				if err != nil {
					return err
				}
				defer f.Close()
				if _, err := f.Write(make([]byte, 4096)); err != nil {
					return err
				}
				return f.Sync()
			}
			if err := write(u.target); err != nil {
				t.Error(err)
			}
			if err := write(reader.target); err == nil {
				t.Error("a read-only target took a write")
			}
			must(d.NodeUnpublishVolume(soon(t), reader.unpublish()))(t)
			u.release()
			d.remove(u.id)
		})
	}
}
