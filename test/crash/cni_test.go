package crash_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/varve-project/varve/test/crash"
)

// TestCNI kills varve-cni in every call that changes something.
func TestCNI(t *testing.T) {
	needRoot(t)
	other := func(w *cniWorld) error { return w.add("other") }
	otherKept := func(w *cniWorld) error { return w.attached("other") }
	both := func(w *cniWorld) error { return errors.Join(w.add("other"), w.add("new")) }
	add := func(w *cniWorld) error { return w.add("new") }
	added := func(w *cniWorld) error {
		if err := errors.Join(w.attached("other"), w.attached("new")); err != nil {
			return err
		}
		// The host port leads to the pod.
		return w.talk(w.netns("new"), "0.0.0.0:80", w.netns("other"), net.JoinHostPort(gateway4, "8080"))
	}
	del := func(w *cniWorld) error { return w.del("new") }
	deleted := func(w *cniWorld) error {
		if err := w.talk(w.netns("new"), "0.0.0.0:80", w.netns("other"), net.JoinHostPort(gateway4, "8080")); err == nil {
			return errors.New("the host port still leads to the pod")
		}
		return w.attached("other")
	}
	crash.Run(t, 40, newCNI, []crash.Case[*cniWorld]{
		{
			// The runtime lives on: it calls DEL, and then tries anew.
			Name: "ADD", Setup: other, Call: add, Kept: otherKept, Done: added,
			Again: func(w *cniWorld) error { return errors.Join(w.del("new"), w.add("new")) },
		},
		{
			// The first one of all makes the bridge and the table.
			Name: "ADDFirst", Call: add, Done: func(w *cniWorld) error { return w.attached("new") },
			Again: func(w *cniWorld) error { return errors.Join(w.del("new"), w.add("new")) },
		},
		{
			// The runtime died as well, and only knows that it wanted an ADD.
			Name: "ADDWithoutDEL", Setup: other, Call: add, Kept: otherKept, Done: added,
			Again: func(w *cniWorld) error {
				err := w.add("new")
				if err != nil && strings.Contains(err.Error(), "attached already") {
					err = errors.Join(w.del("new"), w.add("new"))
				}
				return err
			},
		},
		{
			Name: "dismantle", Call: (*cniWorld).dismantle,
			Setup: func(w *cniWorld) error { return errors.Join(w.add("other"), w.del("other")) },
			Done: func(w *cniWorld) error {
				if w.hasBridge() {
					return errors.New("the bridge is still there")
				}
				return nil
			},
		},
		{Name: "DEL", Setup: both, Call: del, Kept: otherKept, Done: deleted},
		{
			Name: "GC", Setup: both, Kept: otherKept, Done: deleted,
			Call: func(w *cniWorld) error {
				valid := `"cni.dev/valid-attachments": [{"containerID": "other", "ifname": "eth0"}]`
				conf := strings.Replace(w.conf("other"), `"type"`, valid+`, "type"`, 1)
				_, err := w.invoke("GC", "", conf)
				return err
			},
		},
	})
}
