package server_test

import (
	"math"
	"strings"
	"testing"

	"github.com/varve-project/varve/csi-driver/server"
)

func TestConfigCheck(t *testing.T) {
	shipped := server.DefaultConfig()
	if err := shipped.Check(); err != nil {
		t.Errorf("the shipped configuration: %v", err)
	}
	for key, c := range map[string]server.Config{
		"node_id":    {Overcommit: 1, NodeID: "-a"},
		"pool":       {Overcommit: 1, Pool: "relative"},
		"overcommit": {Overcommit: 0.5},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	nan := server.Config{Overcommit: math.NaN()}
	if nan.Check() == nil {
		t.Error("overcommit = nan is accepted")
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]server.Size{
		"0": 0, "1": 1, "512MiB": 512 << 20, "200GiB": 200 << 30, "2 TiB": 2 << 40, "3GB": 3e9, "7B": 7,
	} {
		var s server.Size
		if err := s.Set(text); err != nil || s != want {
			t.Errorf("%q is %d, %v", text, s, err)
		}
	}
	for _, bad := range []string{"", "-1", "1.5GiB", "GiB", "9999999999TiB", "1gib", "0x10"} {
		var s server.Size
		if err := s.Set(bad); err == nil {
			t.Errorf("%q is %d", bad, s)
		}
	}
}

func FuzzSize(f *testing.F) {
	f.Add("200GiB")
	f.Add("-1")
	f.Fuzz(func(t *testing.T, text string) {
		var s, again server.Size
		if s.Set(text) != nil {
			return
		}
		if err := again.Set(s.String()); s < 0 || err != nil || again != s {
			t.Fatalf("%q is %d, written %q, read as %d (%v)", text, s, s, again, err)
		}
	})
}
