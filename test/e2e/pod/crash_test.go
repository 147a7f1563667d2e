package pod_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varve-project/varve/test/built"
)

// TestKilledAtEachStep kills the command and its supervisor, whichever gets
// there, at each step of a pod's start and of its removal. The next command
// finds the pod whole, starting again or failed, and removes all of it.
func TestKilledAtEachStep(t *testing.T) {
	s := start(t)
	s.bin = built.Failpoint(t, "varve")
	manifest := claimOf("crash", `{resources: {requests: {storage: 32Mi}}}`) +
		pod("crash", `{name: c, image: busybox, `+forever+`, volumeMounts: [{name: v, mountPath: /v}, {name: e, mountPath: /e}]}`,
			`spec:volumes:
- {name: v, persistentVolumeClaim: {claimName: crash}}
- {name: e, emptyDir: {medium: Memory}}`)
	points := s.points(t, manifest)
	if len(points) < 30 {
		t.Fatalf("only %d points: %v", len(points), points)
	}
	for _, point := range points {
		if !strings.HasSuffix(point, ".after") {
			continue // what follows a "before" is the same as what precedes it
		}
		s.t.Logf("kill at %s", point)
		s.env = []string{"VARVE_FAILPOINT=" + point + "=kill"}
		s.varve(manifest, "run", "-q", "-")
		s.varve("", "pod", "rm", "-f", "crash")
		s.env = nil
		// The killed ones are gone at once; what is left is found now.
		if r := s.varve("", "pod", "rm", "-f", "crash"); r.code != 0 && !strings.Contains(r.err, "no such pod") {
			t.Errorf("%s: rm -f: %s", point, r.err)
		}
		if left := s.settled(); len(left) != 0 {
			t.Errorf("%s: left: %+v", point, left)
		}
	}
	if r := s.varve("", "volume", "rm", "crash"); r.code != 0 {
		t.Errorf("volume rm: %s", r.err)
	}
}

// points lists the steps of a start and a removal, once each.
func (s *suite) points(t *testing.T, manifest string) []string {
	t.Helper()
	log := filepath.Join(t.TempDir(), "points")
	s.env = []string{"VARVE_FAILPOINT_LOG=" + log}
	s.mustIn(manifest, "run", "-q", "-")
	s.must("pod", "rm", "-f", "crash")
	s.env = nil
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var points []string
	seen := map[string]bool{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name := lines.Text(); strings.HasPrefix(name, "runtime.") && !seen[name] {
			seen[name] = true
			points = append(points, name)
		}
	}
	return points
}

// settled waits until no pod is left, or gives up and returns those.
func (s *suite) settled() []view {
	deadline := time.Now().Add(10 * time.Second)
	for {
		left := s.list()
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(50 * time.Millisecond)
	}
}
