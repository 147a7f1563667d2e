package service_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/varve-project/varve/internal/finding"
)

func TestVersion(t *testing.T) {
	out, _, code := once(t, "version")
	if code != 0 || !strings.HasPrefix(out, "varve-test ") {
		t.Errorf("exit %d, %q", code, out)
	}
	out, _, code = once(t, "version", "-o", "json")
	var id struct{ Version, Go string }
	if err := json.Unmarshal([]byte(out), &id); err != nil || code != 0 || id.Version == "" || id.Go == "" {
		t.Errorf("exit %d, %v, %q", code, err, out)
	}
	if _, errs, code := once(t, "version", "-o", "yaml"); code != 2 || !strings.Contains(errs, `"yaml"`) {
		t.Errorf("exit %d, %q", code, errs)
	}
}

func TestDoctorExitsZeroWhateverItFound(t *testing.T) {
	out, _, code := once(t, "doctor", "-o", "json")
	if out != "[]\n" || code != 0 {
		t.Errorf("healthy: exit %d, %q", code, out)
	}
	out, _, code = once(t, "doctor", "-o", "json", "--colour", "green")
	var found finding.List
	if err := json.Unmarshal([]byte(out), &found); err != nil || code != 0 || len(found) != 1 || found[0].ID != "test.colour.green" {
		t.Errorf("one finding: exit %d, %v, %q", code, err, out)
	}
	if out, _, _ := once(t, "doctor", "--colour", "green"); !strings.Contains(out, "it is green") {
		t.Errorf("as text: %q", out)
	}
	if _, errs, code := once(t, "doctor", "-o", "xml"); code != 2 || !strings.Contains(errs, `"xml"`) {
		t.Errorf("bad output: exit %d, %q", code, errs)
	}
}

func TestFailedCommandExitsOne(t *testing.T) {
	if _, errs, code := once(t, "broken"); code != 1 || errs != "varve-test: it broke\n" {
		t.Errorf("exit %d, %q", code, errs)
	}
}

func TestConfigWithoutVerbIsMisuse(t *testing.T) {
	if _, errs, code := once(t, "config"); code != 2 || !strings.Contains(errs, "config check") {
		t.Errorf("exit %d, %q", code, errs)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, _, code := once(t, "completion", shell); code != 0 || !strings.Contains(out, "varve-test") {
			t.Errorf("%s: exit %d", shell, code)
		}
	}
}
