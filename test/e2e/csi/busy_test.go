package csi_test

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A target in use is not given back, the answer says who holds it, and the same
// call succeeds once they are gone.
func TestUnpublishWhileInUse(t *testing.T) {
	d := start(t, "--store-size", "1GiB")
	for name, capability := range map[string]*csi.VolumeCapability{"files": mounted("xfs"), "raw": raw()} {
		t.Run(name, func(t *testing.T) {
			u := d.use(d.create(sized(name, capability, 64*mib)), capability)
			holder := exec.Command("sleep", "600")
			if name == "files" {
				holder.Dir = u.target
			} else {
				f, err := os.Open(u.target)
				if err != nil {
					t.Fatal(err)
				}
				holder.Stdin = f
				defer f.Close()
			}
			if err := holder.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = holder.Process.Kill(); _ = holder.Wait() }()
			if f, ok := holder.Stdin.(*os.File); ok {
				_ = f.Close()
			}
			pid := fmt.Sprintf("pid %d (sleep)", holder.Process.Pid)
			for range 2 {
				// A raw device can be unbound while it is open; what must not
				// happen is that its device is taken for detached.
				_, err := d.NodeUnpublishVolume(soon(t), u.unpublish())
				if name == "raw" && err == nil {
					_, err = d.NodeUnstageVolume(soon(t), u.unstage())
				}
				says(t, err, codes.FailedPrecondition, "in use", pid)
			}
			_, err := d.DeleteVolume(soon(t), &csi.DeleteVolumeRequest{VolumeId: u.id})
			wants(t, err, codes.FailedPrecondition)
			_ = holder.Process.Kill()
			_ = holder.Wait()
			u.release()
			d.remove(u.id)
		})
	}
}

// A mount that another mount namespace has copied keeps the device; the answer
// says whose it is.
func TestUnstageWhileCopied(t *testing.T) {
	d := start(t, "--store-size", "1GiB")
	u := d.use(d.create(sized("v", mounted("ext4"), 64*mib)), mounted("ext4"))
	holder := exec.Command("sleep", "600")
	holder.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Process.Kill(); _ = holder.Wait() }()
	must(d.NodeUnpublishVolume(soon(t), u.unpublish()))(t)
	for range 2 {
		_, err := d.NodeUnstageVolume(soon(t), u.unstage())
		says(t, err, codes.FailedPrecondition, "in use", fmt.Sprintf("pid %d (sleep)", holder.Process.Pid))
	}
	_ = holder.Process.Kill()
	_ = holder.Wait()
	must(d.NodeUnstageVolume(soon(t), u.unstage()))(t)
	d.remove(u.id)
}

// Two calls on one object: one of them is served, the others are told to come
// again, and nothing is made twice.
func TestConcurrentCalls(t *testing.T) {
	d := start(t, "--store-size", "2GiB")
	var mu sync.Mutex
	ids := map[string]bool{}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for {
				v, err := d.CreateVolume(soon(t), sized("one", mounted("ext4"), 64*mib))
				if status.Code(err) == codes.Aborted {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				ids[v.GetVolume().GetVolumeId()] = true
				mu.Unlock()
				return
			}
		})
	}
	group.Wait()
	if len(ids) != 1 {
		t.Errorf("one name gave the ids %v", ids)
	}
	for n := range 8 {
		group.Go(func() { d.lifecycle(t, fmt.Sprintf("v%d", n)) })
	}
	group.Wait()
	for id := range ids {
		d.remove(id)
	}
}

// lifecycle is a volume's whole life, beside others.
func (d *driver) lifecycle(t *testing.T, name string) {
	v, err := d.CreateVolume(soon(t), sized(name, mounted("ext4"), 64*mib))
	if err != nil {
		t.Error(err)
		return
	}
	u := d.place(v.GetVolume().GetVolumeId(), mounted("ext4"))
	for range 3 {
		_, err := d.NodeStageVolume(soon(t), u.stage())
		wants(t, err, codes.OK)
		_, err = d.NodePublishVolume(soon(t), u.publish())
		wants(t, err, codes.OK)
		_, err = d.NodeUnpublishVolume(soon(t), u.unpublish())
		wants(t, err, codes.OK)
		_, err = d.NodeUnstageVolume(soon(t), u.unstage())
		wants(t, err, codes.OK)
	}
	_, err = d.DeleteVolume(soon(t), &csi.DeleteVolumeRequest{VolumeId: u.id})
	wants(t, err, codes.OK)
}
