package crash_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varve-project/varve/test/crash"
)

// TestRuntime kills varve, or the supervisor that it started, in every command
// that changes something.
func TestRuntime(t *testing.T) {
	needRoot(t)
	crash.Run(t, 40, newRuntime, slices.Concat(suiteCases(), podCases(), storeCases()))
}

func (w *runtimeWorld) load() error {
	return w.do("image", "load", filepath.Join(w.dir, "image.tar"))
}

func (w *runtimeWorld) mountPoint() string { return filepath.Join(w.dir, "mnt") }
func (w *runtimeWorld) mountImage() error  { return w.do("image", "mount", "crash", w.mountPoint()) }

func (w *runtimeWorld) seesImage() error {
	_, err := os.Stat(filepath.Join(w.mountPoint(), "bin", "busybox"))
	return err
}

func (w *runtimeWorld) claim() error { return w.do("run", "-q", filepath.Join(w.dir, "claim.yaml")) }
func (w *runtimeWorld) web() error   { return w.do("run", "-q", filepath.Join(w.dir, "web.yaml")) }

// ready is what a pod needs, and running the pod itself.
func ready(w *runtimeWorld) error   { return errors.Join(w.load(), w.claim()) }
func running(w *runtimeWorld) error { return errors.Join(ready(w), w.web()) }

// serving waits until the pod runs and its page comes through the host port:
// image, volume, network, containers.
func serving(w *runtimeWorld) error {
	var pods []struct {
		Status struct{ Phase string }
	}
	return until(20*time.Second, func() error {
		if err := w.ask(&pods, "pod", "ls"); err != nil {
			return err
		}
		if len(pods) != 1 || pods[0].Status.Phase != "Running" {
			return fmt.Errorf("pods are %v, want one that runs; the story: %s", pods, w.why())
		}
		return page()
	})
}

func (w *runtimeWorld) why() string {
	out, _ := w.varve("why", "web")
	return out
}

func noPods(w *runtimeWorld) error {
	var pods []struct{ Metadata name }
	err := w.ask(&pods, "pod", "ls")
	if err == nil && len(pods) > 0 {
		err = fmt.Errorf("there are still pods: %v", pods)
	}
	return err
}

// absent treats the answer that there is no such thing as success.
func absent(err error) error {
	if err != nil && (strings.Contains(err.Error(), "no such") || strings.Contains(err.Error(), "not found")) {
		return nil
	}
	return err
}

// exists treats the answer that it is there already as success.
func exists(err error) error {
	if err != nil && strings.Contains(err.Error(), "exists") {
		return nil
	}
	return err
}

func suiteCases() []crash.Case[*runtimeWorld] {
	return []crash.Case[*runtimeWorld]{
		{Name: "Up", First: true, Done: func(w *runtimeWorld) error { return w.listening(true) }},
		{
			Name: "Down", Call: func(w *runtimeWorld) error { return w.do("down") },
			Setup: func(w *runtimeWorld) error {
				w.goingDown = true
				return nil
			},
			Done: func(w *runtimeWorld) error { return w.listening(false) },
		},
	}
}

// listening checks that both daemons take calls, or that none does.
func (w *runtimeWorld) listening(want bool) error {
	for _, name := range []string{"overlay", "csi"} {
		conn, err := net.Dial("unix", filepath.Join(w.dir, "state", name+".sock"))
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != want {
			return fmt.Errorf("varve-%s takes calls: %v, want %v", name, err == nil, want)
		}
	}
	return nil
}

func podCases() []crash.Case[*runtimeWorld] {
	return []crash.Case[*runtimeWorld]{
		{
			Name: "Run", Setup: ready, Call: (*runtimeWorld).web, Done: serving,
			// Where the record was written, the pod is on its way.
			Again: func(w *runtimeWorld) error { return exists(w.web()) },
		},
		{
			Name: "PodStop", Setup: running, Inside: true, Call: func(w *runtimeWorld) error { return w.do("pod", "stop", "web") },
			Done: func(w *runtimeWorld) error {
				if err := page(); err == nil {
					return errors.New("the pod still serves")
				}
				return nil
			},
		},
		{
			Name: "PodRm", Setup: running, Inside: true, Call: func(w *runtimeWorld) error { return w.do("pod", "rm", "-f", "web") }, Done: noPods,
			Again: func(w *runtimeWorld) error { return absent(w.do("pod", "rm", "-f", "web")) },
		},
	}
}

func storeCases() []crash.Case[*runtimeWorld] {
	volumes := func(want, snapshots int) func(*runtimeWorld) error {
		return func(w *runtimeWorld) error {
			var all struct{ Volumes, Snapshots []struct{ name } }
			err := w.ask(&all, "volume", "ls")
			if err == nil && (len(all.Volumes) != want || len(all.Snapshots) != snapshots) {
				err = fmt.Errorf("there are volumes %v and snapshots %v, want %d and %d", all.Volumes, all.Snapshots, want, snapshots)
			}
			return err
		}
	}
	snapshot := func(w *runtimeWorld) error { return w.do("volume", "snapshot", "data", "snap") }
	return []crash.Case[*runtimeWorld]{
		{
			// The image is there when a pod of it runs.
			Name: "ImageLoad", Setup: (*runtimeWorld).claim, Call: (*runtimeWorld).load,
			Done: func(w *runtimeWorld) error {
				return errors.Join(w.web(), serving(w), w.do("pod", "rm", "-f", "web"))
			},
		},
		{
			Name: "ImageRm", Setup: (*runtimeWorld).load, Call: func(w *runtimeWorld) error { return w.do("image", "rm", "crash") },
			Again: func(w *runtimeWorld) error { return absent(w.do("image", "rm", "crash")) },
			Done:  func(w *runtimeWorld) error { return errors.Join(w.do("image", "prune"), w.noLayers()) },
		},
		{
			Name: "ImageMount", Setup: (*runtimeWorld).load, Call: (*runtimeWorld).mountImage, Done: (*runtimeWorld).seesImage,
		},
		{
			Name: "ImageUnmount", Setup: func(w *runtimeWorld) error { return errors.Join(w.load(), w.mountImage()) },
			Call:  func(w *runtimeWorld) error { return w.do("image", "unmount", w.mountPoint()) },
			Again: func(w *runtimeWorld) error { return absent(w.do("image", "unmount", w.mountPoint())) },
			Done: func(w *runtimeWorld) error {
				if err := w.seesImage(); err == nil {
					return errors.New("the image is still mounted")
				}
				return nil
			},
		},
		{Name: "VolumeCreate", Call: (*runtimeWorld).claim, Done: volumes(1, 0)},
		{
			Name: "VolumeRm", Setup: (*runtimeWorld).claim, Call: func(w *runtimeWorld) error { return w.do("volume", "rm", "data") },
			Again: func(w *runtimeWorld) error { return absent(w.do("volume", "rm", "data")) }, Done: volumes(0, 0),
		},
		{
			Name: "VolumeSnapshot", Setup: (*runtimeWorld).claim, Call: snapshot, Done: volumes(1, 1),
		},
		{
			Name: "VolumeClone", Setup: (*runtimeWorld).claim, Done: volumes(2, 0),
			Call: func(w *runtimeWorld) error { return w.do("volume", "clone", "data", "copy") },
		},
		{
			Name: "VolumeSnapshotRm", Done: volumes(1, 0),
			Setup: func(w *runtimeWorld) error { return errors.Join(w.claim(), snapshot(w)) },
			Call:  func(w *runtimeWorld) error { return w.do("volume", "rm", "--snapshot", "snap") },
			Again: func(w *runtimeWorld) error { return absent(w.do("volume", "rm", "--snapshot", "snap")) },
		},
		{
			Name: "VolumeResize", Setup: (*runtimeWorld).claim, Done: volumes(1, 0),
			Call: func(w *runtimeWorld) error { return w.do("volume", "resize", "data", "--size", "96Mi") },
		},
	}
}
