package service

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzDecodeConfig: whatever a file holds, reading it ends in a value that can
// be written and read again, or in an error that names the file.
func FuzzDecodeConfig(f *testing.F) {
	for _, seed := range []string{
		"", "root = '/a'", "drain_timeout = 30", "drain_timeout = '1h'", "[common]\n", "root.a = 1",
		"root = \"\"\"\n", "[[root]]", "# only a comment", "log_level = 'info'\nlog_level = 'warn'",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		type config struct {
			Common
			Part struct {
				Wait Duration `toml:"wait"`
			} `toml:"part"`
		}
		var read config
		if err := decodeConfig("x.toml", text, &read); err != nil {
			if !strings.Contains(err.Error(), "x.toml") {
				t.Errorf("the error does not name the file: %v", err)
			}
			return
		}
		var written bytes.Buffer
		if err := writeConfig(&written, read); err != nil {
			t.Fatal(err)
		}
		var again config
		if err := decodeConfig("x.toml", written.Bytes(), &again); err != nil || again != read {
			t.Errorf("written and read again: %v\n%s", err, written.String())
		}
	})
}
