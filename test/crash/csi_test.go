package crash_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/test/crash"
)

// TestCSI kills varve-csi in every call that changes something.
func TestCSI(t *testing.T) {
	needRoot(t)
	crash.Run(t, 60, newCSI, append(controllerCases(), nodeCases()...))
}

const treasure = "what was written stays written"

// write puts the treasure into the volume at target, durably: only what was
// synced is promised.
func (w *csiWorld) write(target string) error {
	return within(5*time.Second, "write to "+target, func() error {
		f, err := os.OpenFile(filepath.Join(w.target(target), "file"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = f.WriteString(treasure)
		return errors.Join(err, f.Sync(), f.Close())
	})
}

func (w *csiWorld) read(target string) error {
	data, err := os.ReadFile(filepath.Join(w.target(target), "file"))
	if err == nil && string(data) != treasure {
		err = fmt.Errorf("%s holds %q", target, data)
	}
	return err
}

// within fails when something takes longer: a file system that stays frozen
// holds its writers for ever.
func within(limit time.Duration, what string, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		return fmt.Errorf("%s: not done within %s", what, limit)
	}
}

// look mounts a volume that is not staged, reads the treasure and gives it
// back.
func (w *csiWorld) look(id string) error {
	return errors.Join(w.stage(id, w.filesystem()), w.publish(id, "look", w.filesystem()), w.read("look"),
		w.unpublish(id, "look"), w.unstage(id))
}

// Set-ups, each standing on the one before: a volume; one that is staged; one
// that is published with data; one with data, given back.
func created(w *csiWorld) (err error) {
	w.vol, err = w.create("first", w.filesystem(), nil)
	return err
}

func staged(w *csiWorld) error { return errors.Join(created(w), w.stage(w.vol, w.filesystem())) }

func published(w *csiWorld) error {
	return errors.Join(staged(w), w.publish(w.vol, "a", w.filesystem()), w.write("a"))
}

func unpublished(w *csiWorld) error { return errors.Join(published(w), w.unpublish(w.vol, "a")) }

func given(w *csiWorld) error { return errors.Join(unpublished(w), w.unstage(w.vol)) }

func snapped(w *csiWorld) (err error) {
	if err := given(w); err != nil {
		return err
	}
	w.snap, err = w.snapshot("snap")
	return err
}

func controllerCases() []crash.Case[*csiWorld] {
	rawOf := func(*csiWorld) *csi.VolumeCapability { return raw() }
	one := func(name string, c func(*csiWorld) *csi.VolumeCapability, from func(*csiWorld) *csi.VolumeContentSource) func(*csiWorld) error {
		return func(w *csiWorld) error {
			var source *csi.VolumeContentSource
			if from != nil {
				source = from(w)
			}
			id, err := w.create(name, c(w), source)
			if err == nil && id == "" {
				err = errors.New("no id was given")
			}
			return err
		}
	}
	count := func(volumes, snapshots int) func(*csiWorld) error {
		return func(w *csiWorld) error { return w.count(volumes, snapshots) }
	}
	copied := func(snapshots int) func(*csiWorld) error {
		return func(w *csiWorld) error {
			if err := w.count(2, snapshots); err != nil {
				return err
			}
			vols, err := w.volumes()
			for _, v := range vols {
				err = errors.Join(err, w.look(v.VolumeId))
			}
			return err
		}
	}
	lookFirst := func(w *csiWorld) error { return w.look(w.vol) }
	fromSnapshot := func(w *csiWorld) *csi.VolumeContentSource {
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: w.snap}}}
	}
	fromVolume := func(w *csiWorld) *csi.VolumeContentSource {
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: w.vol}}}
	}
	snapshot := func(w *csiWorld) (err error) {
		_, err = w.snapshot("snap")
		return err
	}
	return []crash.Case[*csiWorld]{
		{Name: "FirstStart", First: true, Done: count(0, 0)},
		{Name: "CreateVolume", Call: one("new", (*csiWorld).filesystem, nil), Done: count(1, 0)},
		{Name: "CreateVolumeBlock", Call: one("new", rawOf, nil), Done: count(1, 0)},
		{Name: "CreateVolumeFromSnapshot", Setup: snapped, Call: one("new", (*csiWorld).filesystem, fromSnapshot), Kept: lookFirst, Done: copied(1)},
		{Name: "CreateVolumeFromVolume", Setup: given, Call: one("new", (*csiWorld).filesystem, fromVolume), Kept: lookFirst, Done: copied(0)},
		{Name: "DeleteVolume", Setup: given, Call: func(w *csiWorld) error { return w.remove(w.vol) }, Done: count(0, 0)},
		{Name: "CreateSnapshot", Setup: given, Call: snapshot, Kept: lookFirst, Done: count(1, 1)},
		{
			// Mounted: it is frozen meanwhile, and must not stay so.
			Name: "CreateSnapshotInUse", Setup: published, Call: snapshot, Done: count(1, 1),
			Kept: func(w *csiWorld) error { return errors.Join(w.read("a"), w.write("a")) },
		},
		{
			Name: "DeleteSnapshot", Setup: snapped, Call: func(w *csiWorld) error { return w.removeSnapshot(w.snap) },
			Kept: lookFirst, Done: count(1, 0),
		},
		{
			Name: "ControllerExpandVolume", Setup: given, Call: func(w *csiWorld) error { return w.expand(96 * mib) }, Kept: lookFirst,
			Done: func(w *csiWorld) error {
				vols, err := w.volumes()
				if err == nil && (len(vols) != 1 || vols[0].CapacityBytes != 96*mib) {
					err = fmt.Errorf("volumes are %v", vols)
				}
				return errors.Join(err, w.look(w.vol))
			},
		},
	}
}

func nodeCases() []crash.Case[*csiWorld] {
	readable := func(w *csiWorld) error { return w.read("a") }
	gone := func(path func(*csiWorld) string) func(*csiWorld) error {
		return func(w *csiWorld) error {
			var st unix.Stat_t
			var parent unix.Stat_t
			err := unix.Lstat(path(w), &st)
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			if err == nil {
				err = unix.Lstat(filepath.Dir(path(w)), &parent)
			}
			if err == nil && st.Dev != parent.Dev {
				err = fmt.Errorf("something is still mounted on %s", path(w))
			}
			return err
		}
	}
	return []crash.Case[*csiWorld]{
		{
			Name: "NodeStageVolume", Setup: created, Call: func(w *csiWorld) error { return w.stage(w.vol, w.filesystem()) },
			Done: func(w *csiWorld) error {
				return errors.Join(w.publish(w.vol, "look", w.filesystem()), w.unpublish(w.vol, "look"))
			},
		},
		{
			// It has grown while it was not in use.
			Name: "NodeStageVolumeGrows", Call: func(w *csiWorld) error { return w.stage(w.vol, w.filesystem()) },
			Setup: func(w *csiWorld) error { return errors.Join(given(w), w.expand(96*mib)) },
			Done: func(w *csiWorld) error {
				return errors.Join(w.publish(w.vol, "look", w.filesystem()), w.read("look"), w.unpublish(w.vol, "look"))
			},
		},
		{
			Name: "NodePublishVolume", Setup: unpublished, Done: readable,
			Call: func(w *csiWorld) error { return w.publish(w.vol, "a", w.filesystem()) },
		},
		{
			Name: "NodeUnpublishVolume", Setup: published, Call: func(w *csiWorld) error { return w.unpublish(w.vol, "a") },
			Done: gone(func(w *csiWorld) string { return w.target("a") }),
		},
		{
			Name: "NodeUnstageVolume", Setup: unpublished, Call: func(w *csiWorld) error { return w.unstage(w.vol) },
			Done: gone((*csiWorld).staging),
		},
		{
			Name: "NodeStagePublishBlock",
			Setup: func(w *csiWorld) (err error) {
				w.raw = true
				w.vol, err = w.create("first", raw(), nil)
				return err
			},
			Call: func(w *csiWorld) error {
				if err := w.stage(w.vol, raw()); err != nil {
					return err
				}
				return w.publish(w.vol, "a", raw())
			},
			Done: func(w *csiWorld) error {
				info, err := os.Stat(w.target("a"))
				if err == nil && info.Mode()&os.ModeDevice == 0 {
					err = fmt.Errorf("%s is %s, want a device", w.target("a"), info.Mode())
				}
				return err
			},
		},
		{
			Name: "NodeExpandVolume", Kept: readable,
			// XFS: a mounted ext4 grows for CAP_SYS_RESOURCE only.
			Setup: func(w *csiWorld) error {
				w.fs, w.size = "xfs", 320*mib
				return errors.Join(published(w), w.expand(400*mib))
			},
			Call: func(w *csiWorld) error {
				ctx, cancel := w.context()
				defer cancel()
				_, err := w.node().NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{
					VolumeId: w.vol, VolumePath: w.target("a"), StagingTargetPath: w.staging(), VolumeCapability: w.filesystem(),
				})
				return err
			},
			Done: func(w *csiWorld) error {
				var st unix.Statfs_t
				err := unix.Statfs(w.target("a"), &st)
				if size := int64(st.Blocks) * st.Bsize; err == nil && size < 330*mib {
					err = fmt.Errorf("the file system has %d bytes", size)
				}
				return errors.Join(err, w.read("a"))
			},
		},
	}
}
