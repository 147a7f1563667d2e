package mount_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/loop"
	"github.com/varve-project/varve/internal/mount"
)

const guardWord = "guard-of-mount-test"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == guardWord {
		os.Exit(mount.GuardMain())
	}
	os.Exit(private(m.Run))
}

// private runs the tests in a mount namespace of their own: while another
// process copies the host's, none of its mounts lets its device go.
func private(run func() int) int {
	const inside = "VARVE_TEST_PRIVATE"
	if os.Getuid() != 0 || os.Getenv(inside) != "" {
		return run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// mounted makes a file system in a sparse image and mounts it.
func mounted(t *testing.T, fsType string, size int64) (point, image string, dev loop.Device) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	image, point = filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	if err := os.Mkdir(point, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs."+fsType, "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs: %v: %s", err, out)
	}
	dev, err := loop.Attach(context.Background(), image, loop.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := loop.Detach(context.Background(), dev); err != nil {
			t.Error(err)
		}
	})
	o, err := mount.ParseOptions(0, []string{"noatime"})
	if err != nil {
		t.Fatal(err)
	}
	if err := mount.Device(dev.Path, point, fsType, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mount.Unmount(point); err != nil {
			t.Error(err)
		}
	})
	return point, image, dev
}

func TestGrowIsOnline(t *testing.T) {
	for _, fs := range []string{mount.Ext4, mount.XFS} {
		t.Run(fs, func(t *testing.T) {
			const before, after = 320 << 20, 448 << 20
			point, image, dev := mounted(t, fs, before)
			if s, err := mount.ReadSuperOf(dev.Path); err != nil || s.FSType != fs || s.Size != before || s.Errors {
				t.Fatalf("superblock says %+v, %v", s, err)
			}
			for range 2 { // the second one has nothing to do
				if err := os.Truncate(image, after); err != nil {
					t.Fatal(err)
				}
				if err := loop.Resize(dev.Path); err != nil {
					t.Fatal(err)
				}
				err := mount.Grow(point, dev.Path, fs, after)
				if errors.Is(err, mount.ErrGrowOffline) {
					t.Skip("kernel lacks: CAP_SYS_RESOURCE for this process, without which ext4 does not grow online")
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			var st unix.Statfs_t
			if err := unix.Statfs(point, &st); err != nil {
				t.Fatal(err)
			}
			if got := int64(st.Blocks) * st.Bsize; got <= before {
				t.Fatalf("%d bytes after growing to %d", got, after)
			}
		})
	}
}

func TestTableSeesDeviceAndBind(t *testing.T) {
	point, _, dev := mounted(t, mount.Ext4, 64<<20)
	target := filepath.Join(t.TempDir(), "target")
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := mount.Bind(point, target, true); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := mount.Unmount(target); err != nil {
			t.Error(err)
		}
		if left, err := mount.At(target); err != nil || len(left) != 0 {
			t.Errorf("after Unmount: %v, %v", left, err)
		}
	}()
	at, err := mount.At(target)
	if err != nil || len(at) != 1 || at[0].Device != dev.Number || !at[0].ReadOnly || at[0].FSType != mount.Ext4 {
		t.Fatalf("At(target) = %+v, %v", at, err)
	}
	if of, err := mount.Of(dev.Number); err != nil || len(of) != 2 {
		t.Fatalf("Of = %+v, %v; want the mount and its bind", of, err)
	}
	if err := os.WriteFile(filepath.Join(target, "x"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Fatalf("write through a read-only bind: %v", err)
	}
	if err := os.WriteFile(filepath.Join(point, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUnmountBusy(t *testing.T) {
	point, _, _ := mounted(t, mount.Ext4, 64<<20)
	f, err := os.Create(filepath.Join(point, "held"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := mount.Unmount(point); !errors.Is(err, mount.ErrBusy) {
		t.Fatalf("Unmount of a mount in use: %v, want ErrBusy", err)
	}
	for _, nothing := range []string{t.TempDir(), "/nonexistent/varve"} {
		if err := mount.Unmount(nothing); err != nil {
			t.Fatalf("Unmount of %s: %v", nothing, err)
		}
	}
}

func TestFreezeStopsWrites(t *testing.T) {
	point, _, _ := mounted(t, mount.XFS, 320<<20)
	thaw, err := mount.Freezer{Guard: []string{"/proc/self/exe", guardWord}}.Freeze(point)
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(filepath.Join(point, "x"), nil, 0o600) }()
	select {
	case err := <-wrote:
		t.Errorf("a write to a frozen file system came back: %v", err)
		_ = thaw()
		return
	case <-time.After(100 * time.Millisecond):
	}
	if err := thaw(); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if was, err := mount.Thaw(point); was || err != nil {
		t.Fatalf("Thaw of what is not frozen: %v, %v", was, err)
	}
}

// The guard thaws what its freezer left: here the freezer is the guard's pipe,
// closed without a word.
func TestGuardThawsAfterItsFreezer(t *testing.T) {
	point, _, _ := mounted(t, mount.Ext4, 64<<20)
	dir, err := os.Open(point)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	guard := exec.Command("/proc/self/exe", guardWord)
	guard.ExtraFiles = []*os.File{dir}
	hold, err := guard.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := guard.Start(); err != nil {
		t.Fatal(err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), 0xc0045877, 0); errno != 0 {
		t.Fatal(errno)
	}
	if err := hold.Close(); err != nil {
		t.Fatal(err)
	}
	if err := guard.Wait(); err != nil {
		t.Fatal(err)
	}
	if was, err := mount.Thaw(point); was || err != nil {
		t.Fatalf("still frozen after the guard ended: %v, %v", was, err)
	}
}
