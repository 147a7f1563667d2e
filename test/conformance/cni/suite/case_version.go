package suite

import (
	"encoding/json"
	"slices"
)

var versionCases = []Case{
	{Name: "version/lists what it supports", Level: Must, Spec: "VERSION", Run: func(r *Run) {
		for i := range r.Plugins {
			if list := r.supported(i); !slices.Contains(list, r.Version) {
				r.errorf("%s: supportedVersions is %v, without the configuration's %s", r.Plugins[i]["type"], list, r.Version)
			}
		}
	}},
	{Name: "version/every version gets its own form", Level: Must, Spec: "section 5", Run: func(r *Run) {
		versions := r.supported(0)
		for i := range r.Plugins {
			more := r.supported(i)
			versions = slices.DeleteFunc(versions, func(v string) bool { return !slices.Contains(more, v) })
		}
		tried := 0
		for _, v := range versions {
			if !atLeast(v, "0.3.0") {
				continue // another form altogether, which no runtime sends any more
			}
			tried++
			p := r.pod("v" + v)
			res, _ := r.attachAs(request{verb: "ADD", pod: p, version: v})
			if err := p.agrees(res, "eth0"); err != nil {
				r.errorf("version %s: %v", v, err)
			}
			r.wants("DEL, version "+v, r.call(request{verb: "DEL", pod: p, version: v}))
		}
		if tried == 0 {
			r.errorf("no version from 0.3.0 on is supported by all plug-ins of the list")
		}
	}},
	{Name: "version/a version it does not know is refused", Level: Must, Spec: "section 5, error code 1", Run: func(r *Run) {
		before := r.warm()
		p := r.pod("p")
		for _, verb := range []string{"ADD", "DEL", "CHECK"} {
			r.refuses(verb+" with cniVersion 99.0.0", r.first(request{verb: verb, pod: p, version: "99.0.0"}), 1)
		}
		r.leavesNothing(before, "the refused call")
	}},
}

func (r *Run) supported(i int) []string {
	a, err := r.execute(r.context(), typeOf(r.Plugins[i]), environment{"CNI_COMMAND": "VERSION"}, []byte(`{"cniVersion":"`+r.Version+`"}`))
	r.must(err)
	var answer struct {
		CNIVersion        string   `json:"cniVersion"`
		SupportedVersions []string `json:"supportedVersions"`
	}
	if err := json.Unmarshal(a.Stdout, &answer); err != nil || !a.ok() || answer.CNIVersion == "" {
		r.fatalf("VERSION of %s: %s", typeOf(r.Plugins[i]), a)
	}
	return answer.SupportedVersions
}

func typeOf(plugin map[string]any) string {
	kind, _ := plugin["type"].(string)
	return kind
}
