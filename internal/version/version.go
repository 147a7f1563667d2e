// Package version says which Varve this is. The truth comes from the linker
// (`make build` sets it), else from what the Go toolchain recorded about the
// module and the commit.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set by the linker: -X github.com/varve-project/varve/internal/version.number=v1.2.3
var (
	number string
	commit string
)

// Info is a build's identity. The JSON form is a contract: fields are added,
// never renamed or removed.
type Info struct {
	// Version is a release ("v0.2.0"), or "devel".
	Version string `json:"version"`
	// Commit is the full commit id; it ends in "+dirty" when the tree had
	// changes, and is empty when the build did not know.
	Commit string `json:"commit,omitempty"`
	// Go is the toolchain, "go1.26.6".
	Go string `json:"go"`
	// Platform is GOOS/GOARCH.
	Platform string `json:"platform"`
}

// Get returns the identity of the running binary.
func Get() Info {
	build, _ := debug.ReadBuildInfo()
	return from(number, commit, build)
}

// from is Get of given sources; build may be nil.
func from(number, commit string, build *debug.BuildInfo) Info {
	info := Info{
		Version:  number,
		Commit:   commit,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if build != nil {
		if v := build.Main.Version; info.Version == "" && v != "" && v != "(devel)" {
			info.Version = v
		}
		if info.Commit == "" {
			info.Commit = recorded(build.Settings)
		}
	}
	if info.Version == "" {
		info.Version = "devel"
	}
	return info
}

// recorded is the commit that `go build` noted down.
func recorded(settings []debug.BuildSetting) string {
	var revision, dirty string
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if revision == "" {
		return ""
	}
	return revision + dirty
}

// String is the identity in one line, for `version` and logs.
func (i Info) String() string {
	text := i.Version
	if i.Commit != "" {
		text += " commit " + i.Commit
	}
	return fmt.Sprintf("%s %s %s", text, i.Go, i.Platform)
}
