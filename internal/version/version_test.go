package version

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestSources(t *testing.T) {
	recorded := &debug.BuildInfo{
		Main: debug.Module{Version: "v9.9.9"},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "abc"},
			{Key: "vcs.modified", Value: "true"},
		},
	}
	for _, c := range []struct {
		name            string
		release, commit string
		build           *debug.BuildInfo
		version, id     string
	}{
		{"linker wins", "v1.0.0", "def", recorded, "v1.0.0", "def"},
		{"toolchain", "", "", recorded, "v9.9.9", "abc+dirty"},
		{"nothing known", "", "", nil, "devel", ""},
		{"devel", "", "", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "devel", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := from(c.release, c.commit, c.build)
			if got.Version != c.version || got.Commit != c.id {
				t.Errorf("got version %q commit %q, want %q %q", got.Version, got.Commit, c.version, c.id)
			}
		})
	}
}

func TestStringNamesCommitOnlyWhenKnown(t *testing.T) {
	if s := (Info{Version: "v1", Go: "go1", Platform: "linux/amd64"}).String(); strings.Contains(s, "commit") {
		t.Errorf("%q speaks of a commit that is not known", s)
	}
	if s := (Info{Version: "v1", Commit: "abc"}).String(); !strings.Contains(s, "commit abc") {
		t.Errorf("%q does not name the commit", s)
	}
}
