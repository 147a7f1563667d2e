package crash_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/test/built"
	"github.com/varve-project/varve/test/crash"
	"github.com/varve-project/varve/test/leak"
)

// runtimeWorld is a suite of its own, driven by varve's command line. Its
// daemons are those of the other tables and are not killed here.
type runtimeWorld struct {
	dir, bin, runc string
	env            []string
	log            bytes.Buffer
	uids           []string
	// goingDown means that the daemons may be absent.
	goingDown bool
	// emptied means that the next Stop is the last.
	emptied bool
}

func newRuntime(t testing.TB) *runtimeWorld {
	dir, err := os.MkdirTemp("/run", "crash")
	if err != nil {
		t.Fatal(err)
	}
	w := &runtimeWorld{dir: dir, bin: built.Failpoint(t, "varve"), runc: built.Peer(t, "runc")}
	for _, name := range []string{"varve-overlay", "varve-csi", "varve-cni"} {
		built.Failpoint(t, name) // beside varve, where it looks for them
	}
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(dir, "root", "runtime", "pods", "*", "supervisor.log"))
			daemons, _ := filepath.Glob(filepath.Join(dir, "state", "*.log"))
			t.Logf("varve said:\n%s", w.log.String())
			for _, path := range append(logs, daemons...) {
				text, _ := os.ReadFile(path)
				t.Logf("%s:\n%s", path, text)
			}
		}
		w.clean()
	})
	if err := os.WriteFile(filepath.Join(dir, "image.tar"), image(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range manifests {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// clean ends what a failed test left.
func (w *runtimeWorld) clean() {
	w.env = nil
	_, _ = w.varve("pod", "rm", "-f", "web")
	_, _ = w.varve("down", "--force")
	_ = crash.Sweep(w.dir)
}

// varve runs one command of the command line and returns what it printed.
func (w *runtimeWorld) varve(args ...string) (string, error) {
	base := []string{"--root", filepath.Join(w.dir, "root"), "--state", filepath.Join(w.dir, "state"), "--oci-runtime", w.runc}
	cmd := exec.Command(w.bin, append(base, args...)...)
	cmd.Env = append(os.Environ(), w.env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	fmt.Fprintf(&w.log, "$ varve %s\n%s%s", strings.Join(args, " "), out, stderr.String())
	w.remember()
	if err != nil {
		err = fmt.Errorf("varve %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
		fmt.Fprintln(&w.log, err)
	}
	return string(out), err
}

// remember notes the UIDs of the pods that are recorded: the machine's cgroups
// are everybody's, and these are ours.
func (w *runtimeWorld) remember() {
	records, _ := filepath.Glob(filepath.Join(w.dir, "root", "runtime", "pods", "*", "pod.json"))
	for _, path := range records {
		data, _ := os.ReadFile(path)
		var r struct{ UID string }
		if json.Unmarshal(data, &r) == nil && r.UID != "" && !slices.Contains(w.uids, r.UID) {
			w.uids = append(w.uids, r.UID)
		}
	}
}

// do is varve for those who want no output.
func (w *runtimeWorld) do(args ...string) error {
	_, err := w.varve(args...)
	return err
}

// ask reads a command's JSON.
func (w *runtimeWorld) ask(value any, args ...string) error {
	out, err := w.varve(append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), value)
}

// hitsLog is where the processes of a call note the points that they hit:
// there are several, and the one that dies need not be the one that was
// started.
func (w *runtimeWorld) hitsLog() string { return filepath.Join(w.dir, "hits") }

// Pick keeps to the points of varve's own processes (the plug-in that they
// run, and the daemons, have tables of their own), each once: with several
// processes the second hit of a name may be the first of another one.
func (w *runtimeWorld) Pick(name string, nth int) bool {
	return nth == 1 && (strings.HasPrefix(name, "runtime.") || strings.HasPrefix(name, "image."))
}

func (w *runtimeWorld) Start(env ...string) error {
	if err := os.RemoveAll(w.hitsLog()); err != nil {
		return err
	}
	w.env = env
	if len(env) > 0 && strings.HasPrefix(env[0], "VARVE_FAILPOINT=") {
		w.env = append(w.env, "VARVE_FAILPOINT_LOG="+w.hitsLog())
	}
	if _, err := os.Stat(filepath.Join(w.dir, "state", "csi.sock")); err == nil {
		return nil
	}
	return w.do("up")
}

// Stop ends the daemons once the suite is empty. Before that it leaves them
// alone: they are not what is killed here.
func (w *runtimeWorld) Stop() error {
	if !w.emptied {
		return nil
	}
	return w.do("down")
}

// WaitKilled waits until some process has been at the point, which is where
// it died.
func (w *runtimeWorld) WaitKilled() error {
	name, _, _ := strings.Cut(strings.TrimPrefix(w.env[0], "VARVE_FAILPOINT="), "=")
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		data, _ := os.ReadFile(w.hitsLog())
		if slices.Contains(strings.Fields(string(data)), name) {
			return nil
		}
	}
	return errors.New("the point was not reached a second time: nothing was killed")
}

// Reconcile is any command on pods: it repairs what a crash left.
func (w *runtimeWorld) Reconcile() error {
	if err := w.do("pod", "ls"); err != nil {
		return err
	}
	return until(10*time.Second, func() error {
		var list finding.List
		out, _ := w.varve("doctor", "-o", "json") // 1 is "there is an error"
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return fmt.Errorf("varve doctor: %w", err)
		}
		var errs []error
		for _, f := range list {
			if w.blames(f) {
				errs = append(errs, fmt.Errorf("doctor: %s %s: %s", f.ID, f.Object, f.Text))
			}
		}
		return errors.Join(errs...)
	})
}

// blames tells whether a finding is a fault of this world's.
func (w *runtimeWorld) blames(f finding.Finding) bool {
	if f.ID == "runtime.daemon.down" && w.goingDown {
		return false
	}
	return f.Orphan || f.Severity == finding.Error || f.ID == "runtime.pod.unsupervised"
}

// until tries until it works or the time is over.
func until(limit time.Duration, try func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := try()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Empty removes pods, volumes and images.
func (w *runtimeWorld) Empty() error {
	var pods []struct{ Metadata name }
	var volumes struct{ Volumes, Snapshots []name }
	var images []name
	var mounts []struct{ Path string }
	err := errors.Join(w.do("up"), w.ask(&mounts, "image", "mount"), w.ask(&pods, "pod", "ls"), w.ask(&volumes, "volume", "ls"), w.ask(&images, "image", "ls"))
	for _, p := range pods {
		// One that is being removed may be gone by now.
		err = errors.Join(err, absent(w.do("pod", "rm", "-f", p.Metadata.key())))
	}
	for _, s := range volumes.Snapshots {
		err = errors.Join(err, w.do("volume", "rm", "--snapshot", s.key()))
	}
	for _, v := range volumes.Volumes {
		err = errors.Join(err, w.do("volume", "rm", v.key()))
	}
	for _, m := range mounts {
		err = errors.Join(err, w.do("image", "unmount", m.Path))
	}
	for _, i := range images {
		err = errors.Join(err, w.do("image", "rm", i.Name))
	}
	w.emptied = true
	return errors.Join(err, w.do("image", "prune"), w.noLayers())
}

// name is what every list says of its entries.
type name struct{ Namespace, Name string }

func (n name) key() string { return n.Namespace + "/" + n.Name }

// noLayers looks into the snapshotter's root: without images there is none.
func (w *runtimeWorld) noLayers() error {
	return until(5*time.Second, func() error {
		left, err := filepath.Glob(filepath.Join(w.dir, "root", "overlay", "layers", "*"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("without pods and images the snapshotter still holds %q", left)
		}
		return err
	})
}

func (w *runtimeWorld) Disk() ([]string, error) {
	root := filepath.Join(w.dir, "root")
	all, err := crash.Tree(filepath.Join(root, "runtime"), filepath.Join(root, "overlay"), filepath.Join(root, "cni"), filepath.Join(w.dir, "state"))
	return slices.DeleteFunc(all, func(path string) bool { return byDesign.MatchString(path) }), err
}

// byDesign are tombstones, which go by time, locks, which keep their files,
// and what netlink and libcni keep beside them.
var byDesign = regexp.MustCompile(`/gone(/|$)|locks?(/|$)|\.lock$|/cni/`)

// Keeps: the network's bridge and table stay, for the next pod.
func (w *runtimeWorld) Keeps() {}

func (w *runtimeWorld) Kernel() (leak.Snapshot, error) {
	return leak.Take(leak.Scope{Paths: []string{w.dir}, OwnNetwork: true, Cgroups: w.uids})
}

// page fetches the pod's page through the host port.
func page() error {
	client := http.Client{Timeout: 2 * time.Second}
	answer, err := client.Get("http://10.89.0.1:8080/")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(answer.Body)
	if err == nil && body.String() != "treasure\n" {
		err = fmt.Errorf("the pod's page is %q (%s)", body.String(), answer.Status)
	}
	return err
}
