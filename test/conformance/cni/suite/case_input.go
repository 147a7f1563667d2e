package suite

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
)

var inputCases = []Case{
	{Name: "input/a variable that is needed and missing", Level: Must, Spec: "section 2, error code 4", Run: func(r *Run) {
		before := r.warm()
		for _, c := range []struct{ verb, variable string }{
			{"ADD", "CNI_CONTAINERID"}, {"ADD", "CNI_NETNS"}, {"ADD", "CNI_IFNAME"},
			{"DEL", "CNI_CONTAINERID"}, {"DEL", "CNI_IFNAME"},
			{"CHECK", "CNI_CONTAINERID"}, {"CHECK", "CNI_NETNS"}, {"CHECK", "CNI_IFNAME"},
		} {
			a := r.first(request{verb: c.verb, pod: r.fresh(), env: environment{c.variable: "-"}})
			r.refuses(c.verb+" without "+c.variable, a, 4)
			if e := a.err(); e != nil && !strings.Contains(e.Msg+e.Details, c.variable) {
				r.errorf("%s without %s: the error does not name the variable: %q", c.verb, c.variable, e.Msg)
			}
		}
		r.leavesNothing(before, "the refused call")
	}},
	{Name: "input/a variable with an invalid value", Level: Must, Spec: "section 2: the container id's alphabet, an interface's name", Run: func(r *Run) {
		before := r.warm()
		for _, c := range []struct{ variable, value string }{
			{"CNI_CONTAINERID", "../../etc/x"}, {"CNI_CONTAINERID", "-begins-with-a-dash"}, {"CNI_CONTAINERID", "a b"},
			{"CNI_IFNAME", "a/b"}, {"CNI_IFNAME", "sixteen-letters-"}, {"CNI_IFNAME", ".."}, {"CNI_IFNAME", "a:b"}, {"CNI_IFNAME", "a b"},
		} {
			a := r.first(request{verb: "ADD", pod: r.fresh(), env: environment{c.variable: c.value}})
			r.refuses("ADD with "+c.variable+"="+c.value, a, 4)
		}
		r.leavesNothing(before, "the refused call")
	}},
	{Name: "input/a verb that does not exist", Level: Must, Spec: "section 2, error code 4", Run: func(r *Run) {
		for _, verb := range []string{"FOO", "add"} {
			r.refuses("CNI_COMMAND="+verb, r.first(request{verb: verb, pod: r.fresh()}), 4)
		}
	}},
	{Name: "input/garbage on standard input", Level: Must, Spec: "section 5, error codes 6 and 7", Run: func(r *Run) {
		before := r.warm()
		list, err := json.Marshal([]int{1})
		r.must(err)
		for name, stdin := range map[string][]byte{
			"nothing": nil, "no JSON": []byte("{"), "a list": list, "100 KB of zeros": make([]byte, 100<<10),
			"100 KB of braces": bytes.Repeat([]byte("{"), 100<<10), "not UTF-8": {0xff, 0xfe, '{', '}'},
		} {
			a, err := r.execute(r.context(), typeOf(r.Plugins[0]), r.environment(request{verb: "ADD", pod: r.fresh()}), stdin)
			r.must(err)
			r.refuses("ADD with "+name, a, 6, 7)
		}
		r.leavesNothing(before, "the refused call")
	}},
	{Name: "input/a key of the wrong type", Level: Must, Spec: "section 5, error codes 6 and 7", Run: func(r *Run) {
		before := r.warm()
		for _, key := range []string{"name", "cniVersion", "dns", "runtimeConfig", "prevResult"} {
			a := r.first(request{verb: "ADD", pod: r.fresh(), keys: map[string]any{key: []any{1}}})
			r.refuses("ADD with "+key+": [1]", a, 1, 6, 7)
		}
		r.leavesNothing(before, "the refused call")
	}},
	{Name: "input/a network's name that is missing or invalid", Level: Must, Spec: "section 1: the name's alphabet; error code 7", Run: func(r *Run) {
		before := r.warm()
		for _, name := range []any{nil, "", "a/b", "../x", "-a"} {
			a := r.first(request{verb: "ADD", pod: r.fresh(), keys: map[string]any{"name": name}})
			r.refuses("ADD with an invalid name", a, 6, 7)
		}
		r.leavesNothing(before, "the refused call")
	}},
	{Name: "input/a namespace that is none", Level: Must, Spec: "ADD: an error, and nothing done", Run: func(r *Run) {
		before := r.warm()
		file := "/run/no-namespace"
		r.must(os.WriteFile(file, nil, 0o600))
		for _, path := range []string{"/run/netns/absent", file, "/run"} {
			r.refuses("ADD with CNI_NETNS="+path, r.call(request{verb: "ADD", pod: r.fresh(), env: environment{"CNI_NETNS": path}}))
		}
		r.leavesNothing(before, "the refused call")
	}},
	{Name: "input/an error has the form of the version asked for", Level: Trust, Spec: "section 5, Error: a key that libcni's own types lack", Run: func(r *Run) {
		a := r.first(request{verb: "ADD", pod: r.fresh(), env: environment{"CNI_NETNS": "/run/netns/absent"}})
		r.refuses("ADD without a namespace", a)
		if e := a.err(); e != nil && e.CNIVersion != r.Version {
			r.errorf("the error's cniVersion is %q, asked was %q", e.CNIVersion, r.Version)
		}
	}},
}
