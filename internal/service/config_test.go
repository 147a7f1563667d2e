package service_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsWinOverFileAndFileOverShipped(t *testing.T) {
	path := write(t, `
root = "/from/file"
colour = "green"
lists = ["from", "file"]
drain_timeout = "7s"
[part]
size = 3
`)
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"shipped", nil, "red [shipped] /var/lib/varve/test 30s 0\n"},
		{"file", []string{"--config", path}, "green [from file] /from/file 7s 3\n"},
		{"flags", []string{"--config", path, "--root", "/from/flag", "--lists", "a,b", "--lists", "c", "--drain-timeout", "1m"}, "green [a b c] /from/flag 1m0s 3\n"},
		{"flag says the shipped value", []string{"--config", path, "--colour", "red"}, "red [from file] /from/file 7s 3\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs, code := once(t, append([]string{"show"}, c.args...)...)
			if out != c.want || code != 0 {
				t.Errorf("got %q (exit %d, %s), want %q", out, code, errs, c.want)
			}
		})
	}
}

// Every misuse is refused with exit code 2 and a text that names key, value
// and place.
func TestMisuse(t *testing.T) {
	long := "/" + strings.Repeat("a", 107)
	for _, c := range []struct {
		name string
		file string
		args []string
		want []string
	}{
		{"unknown key", "root = '/a'\nrooot = 1\n", nil, []string{"test.toml:2:", `"rooot"`}},
		{"unknown key in a table", "[part]\nsise = 1\n", nil, []string{"test.toml:2:", `"part.sise"`}},
		{"two unknown keys", "a = 1\nb = 2\n", nil, []string{"test.toml:1:", "test.toml:2:"}},
		{"unknown table", "[parts]\nsize = 1\n", nil, []string{"test.toml:1:", `"parts"`}},
		{"wrong type", "\n\nlists = 3\n", nil, []string{"test.toml:3:", "lists"}},
		{"bad duration", "drain_timeout = 'soon'\n", nil, []string{"test.toml:1:", "soon", "30s"}},
		{"duration without a unit", "drain_timeout = 30\n", nil, []string{"test.toml", `"drain_timeout"`, "30s"}},
		{"duration without a unit, own key", "close = 30\n", nil, []string{"test.toml", `"close"`, "30s"}},
		{"duration without a unit, in a table", "[part]\nwait = 30\n", nil, []string{"test.toml", `"part.wait"`, "30s"}},
		{"no TOML", "root = \n", nil, []string{"test.toml:1:"}},
		{"empty root", "root = ''\n", nil, []string{"root", "absolute"}},
		{"own check", "colour = 'blue'\n", nil, []string{"colour", `"blue"`, "red or green"}},
		{"relative root", "", []string{"--root", "a/b"}, []string{"root", `"a/b"`, "absolute"}},
		{"relative address", "", []string{"--address", "s.sock"}, []string{"address", `"s.sock"`}},
		{"long address", "", []string{"--address", long}, []string{"address", "108 bytes", "107"}},
		{"metrics address", "", []string{"--metrics-address", "9100"}, []string{"metrics_address", `"9100"`}},
		{"log level", "", []string{"--log-level", "loud"}, []string{"log_level", `"loud"`, "debug, info, warn or error"}},
		{"log format", "", []string{"--log-format", "xml"}, []string{"log_format", `"xml"`, "text or json"}},
		{"drain timeout", "", []string{"--drain-timeout", "-1s"}, []string{"drain_timeout", "-1s"}},
		{"unknown flag", "", []string{"--rooot", "/a"}, []string{"--rooot"}},
		{"missing file", "", []string{"--config", "/nonexistent/x.toml"}, []string{"/nonexistent/x.toml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Not plain serving, so that a fault here never starts a daemon.
			args := append([]string{"config", "check"}, c.args...)
			if c.file != "" {
				args = append(args, "--config", write(t, c.file))
			}
			_, errs, code := once(t, args...)
			if code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
			for _, want := range c.want {
				if !strings.Contains(errs, want) {
					t.Errorf("%q does not name %q", errs, want)
				}
			}
		})
	}
}

func TestUnknownCommandIsMisuse(t *testing.T) {
	if _, errs, code := once(t, "serv"); code != 2 || !strings.Contains(errs, `"serv"`) {
		t.Errorf("exit %d, %q", code, errs)
	}
}

func TestConfigOfWrongKindIsRefused(t *testing.T) {
	for _, path := range []string{"/dev/zero", t.TempDir()} {
		_, errs, code := once(t, "config", "check", "--config", path)
		if code != 2 || !strings.Contains(errs, path) {
			t.Errorf("%s: exit %d, %q", path, code, errs)
		}
	}
}

// What `config default` prints is a file that `config check` accepts, with
// every key explained.
func TestShippedConfigurationIsCompleteAndValid(t *testing.T) {
	text, _, code := once(t, "config", "default")
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.Contains(line, " = ") && (i == 0 || !strings.HasPrefix(lines[i-1], "#")) {
			t.Errorf("key without a comment: %s", line)
		}
	}
	for _, key := range []string{"root = ", "address = ", "metrics_address = ", "log_level = ", "log_format = ", "drain_timeout = ", "colour = ", "[part]", "size = "} {
		if !strings.Contains(text, key) {
			t.Errorf("%q is missing in:\n%s", key, text)
		}
	}
	if out, errs, code := once(t, "config", "check", "--config", write(t, text)); code != 0 || out != "ok\n" {
		t.Errorf("config check: exit %d, %q %q", code, out, errs)
	}
}
