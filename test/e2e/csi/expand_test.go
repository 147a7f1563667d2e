package csi_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (d *driver) expand(id string, size int64) *csi.ControllerExpandVolumeResponse {
	d.t.Helper()
	return must(d.ControllerExpandVolume(soon(d.t), &csi.ControllerExpandVolumeRequest{
		VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: size},
	}))(d.t)
}

func fsBytes(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Blocks) * st.Bsize
}

// A volume grows while its pod writes.
func TestExpandInUse(t *testing.T) {
	for _, fs := range fileSystems {
		t.Run(fs, func(t *testing.T) {
			d := start(t, "--store-size", "4GiB")
			u := d.use(d.create(sized("v", mounted(fs), 320*mib)), mounted(fs))
			fill(t, u.target, 5, 100, 65536)
			before := digest(t, u.target)
			answer := d.expand(u.id, 640*mib)
			if answer.GetCapacityBytes() != 640*mib || !answer.GetNodeExpansionRequired() {
				t.Errorf("ControllerExpandVolume answers %v", answer)
			}
			expand := &csi.NodeExpandVolumeRequest{VolumeId: u.id, VolumePath: u.target, StagingTargetPath: u.staging}
			_, err := d.NodeExpandVolume(soon(t), expand)
			if status.Code(err) == codes.FailedPrecondition && fs == "ext4" {
				// Without CAP_SYS_RESOURCE: at the next staging.
				u.release()
				u = d.use(u.id, u.capability)
			} else if err != nil {
				t.Fatal(err)
			}
			must(d.NodeExpandVolume(soon(t), expand))(t) // nothing left to do
			if got := fsBytes(t, u.target); got < 560*mib {
				t.Errorf("%d bytes after growing to 640 MiB", got)
			}
			if digest(t, u.target) != before {
				t.Error("the content changed")
			}
			big := filepath.Join(u.target, "big")
			if err := os.WriteFile(big, make([]byte, 340*mib), 0o600); err != nil {
				t.Errorf("the new room cannot be used: %v", err)
			}
			expand.CapacityRange = &csi.CapacityRange{RequiredBytes: gib}
			_, err = d.NodeExpandVolume(soon(t), expand)
			wants(t, err, codes.OutOfRange)
			u.release()
			d.remove(u.id)
		})
	}
}

func TestExpandRawDevice(t *testing.T) {
	d := start(t, "--store-size", "2GiB")
	u := d.use(d.create(sized("v", raw(), 64*mib)), raw())
	if answer := d.expand(u.id, 128*mib); answer.GetNodeExpansionRequired() {
		t.Errorf("answers %v: the device has its size already", answer)
	}
	stats := must(d.NodeGetVolumeStats(soon(t), &csi.NodeGetVolumeStatsRequest{VolumeId: u.id, VolumePath: u.target}))(t)
	if got := stats.GetUsage()[0].GetTotal(); got != 128*mib {
		t.Errorf("the device has %d bytes", got)
	}
	if again := d.expand(u.id, 100*mib); again.GetCapacityBytes() != 128*mib {
		t.Errorf("a smaller wish answers %v", again)
	}
	_, err := d.ControllerExpandVolume(soon(t), &csi.ControllerExpandVolumeRequest{
		VolumeId: u.id, CapacityRange: &csi.CapacityRange{LimitBytes: 64 * mib},
	})
	wants(t, err, codes.OutOfRange)
	u.release()
	d.remove(u.id)
}
