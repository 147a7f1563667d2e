package csi_test

import (
	"encoding/xml"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/varve-project/varve/test/built"
)

// suite is the JUnit report that csi-sanity writes.
type suite struct {
	Suites []struct {
		Cases []struct {
			Name    string `xml:"name,attr"`
			Status  string `xml:"status,attr"`
			Skipped *struct {
				Message string `xml:"message,attr"`
			} `xml:"skipped"`
			Failure *struct {
				Message string `xml:"message,attr"`
			} `xml:"failure"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// notAdvertised are the reasons for which csi-sanity may leave a case out:
// each names a capability that this driver does not claim to have.
var notAdvertised = []string{
	"skipped - Controller Publish, UnpublishVolume not supported",
	"skipped - ControllerPublishVolume not supported",
	"skipped - ControllerUnpublishVolume not supported",
	"skipped - ControllerGetVolumeHealth not supported",
	"skipped - ControllerListVolumeHealth not supported",
	"skipped - NodeGetVolumeHealth not supported",
	"skipped - NodeGetStorageHealth not supported",
	"skipped - ControllerModifyVolume not supported",
	"skipped - Modify Volume not supported",
	"skipped - Modify volume not supported",
	"skipped - GroupControllerService not supported",
	"skipped - SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported",
}

func TestSanity(t *testing.T) {
	for _, access := range []string{"mount", "block"} {
		t.Run(access, func(t *testing.T) {
			d := start(t, "--store-size", "16GiB")
			report := d.path("junit.xml")
			cmd := exec.Command(built.Peer(t, "csi-sanity"),
				"--ginkgo.no-color", "--csi.junitfile", report,
				"--csi.endpoint", d.socket(), "--csi.testvolumeaccesstype", access,
				"--csi.testvolumesize", "1073741824", "--csi.testvolumeexpandsize", "2147483648",
				"--csi.mountdir", d.path("target"), "--csi.stagingdir", d.path("staging"))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("csi-sanity: %v\n%s", err, out)
			}
			text, err := os.ReadFile(report)
			if err != nil {
				t.Fatal(err)
			}
			var s suite
			if err := xml.Unmarshal(text, &s); err != nil {
				t.Fatal(err)
			}
			judge(t, s)
		})
	}
}

// judge wants no failure, no case left out but for a capability that is not
// advertised, and the number of cases that were there when this was written:
// a suite that shrinks proves less.
func judge(t *testing.T, s suite) {
	const enough = 71
	passed := 0
	for _, suite := range s.Suites {
		for _, c := range suite.Cases {
			switch {
			case c.Failure != nil || c.Status == "failed":
				t.Errorf("failed: %s: %s", c.Name, c.Failure.Message)
			case c.Skipped == nil:
				passed++
			case c.Status == "pending": // switched off in csi-sanity itself
			case !slices.Contains(notAdvertised, c.Skipped.Message):
				t.Errorf("left out: %s: %q", c.Name, c.Skipped.Message)
			}
		}
	}
	t.Logf("csi-sanity: %d cases passed", passed)
	if passed < enough {
		t.Errorf("%d cases passed, want at least %d", passed, enough)
	}
}
