package conformance

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

var labelCases = []Case{
	{Name: "labels are kept and updated", Run: on(labelsUpdate)},
	{Name: "labels of commit replace those of prepare", Run: on(labelsCommit)},
	{Name: "only labels can be updated", Run: on(labelsOnly)},
	{Name: "filters choose what is listed", Run: on(labelsFilter)},
	{Name: "labels too long are refused", Run: on(labelsLong)},
	{Name: "a long list is whole", Run: on(longList)},
}

func labelsUpdate(r *run) {
	r.prepare("a", "", snapshots.WithLabels(map[string]string{"keep": "1", "change": "1", "drop": "1"}))
	before, err := r.sn.Stat(r.ctx, "a")
	r.must(err, "Stat")
	_, err = r.sn.Update(r.ctx, snapshots.Info{Name: "a", Labels: map[string]string{"change": "2", "drop": ""}}, "labels.change", "labels.drop")
	r.must(err, "Update of two labels")
	r.labels("a", map[string]string{"keep": "1", "change": "2"})
	info, err := r.sn.Update(r.ctx, snapshots.Info{Name: "a", Labels: map[string]string{"only": "3"}})
	r.must(err, "Update of all labels")
	if info.Labels["only"] != "3" || len(info.Labels) != 1 {
		r.Errorf("Update answers with labels %v", info.Labels)
	}
	r.labels("a", map[string]string{"only": "3"})
	after, err := r.sn.Stat(r.ctx, "a")
	r.must(err, "Stat")
	if !after.Created.Equal(before.Created) || !after.Updated.After(before.Updated) {
		r.Errorf("times went from %v, %v to %v, %v by an Update", before.Created, before.Updated, after.Created, after.Updated)
	}
}

func (r *run) labels(key string, want map[string]string) {
	r.Helper()
	info, err := r.sn.Stat(r.ctx, key)
	r.must(err, "Stat")
	for k, v := range want {
		if info.Labels[k] != v {
			r.Errorf("label %s of %s is %q, want %q", k, key, info.Labels[k], v)
		}
	}
	for k, v := range info.Labels {
		if _, ok := want[k]; !ok && v != "" {
			r.Errorf("%s has the label %s=%q, which nobody set", key, k, v)
		}
	}
}

func labelsCommit(r *run) {
	r.prepare("a", "", label("of", "prepare"))
	r.commit("c", "a", label("by", "commit"))
	r.labels("c", map[string]string{"by": "commit"})
}

func labelsOnly(r *run) {
	r.layer("base", "", func(string) {})
	r.prepare("a", "")
	for _, field := range []string{"parent", "name", "kind", "created"} {
		_, err := r.sn.Update(r.ctx, snapshots.Info{Name: "a", Parent: "base", Kind: snapshots.KindCommitted}, field)
		r.refused(err, errdefs.IsInvalidArgument, "Update of "+field, "InvalidArgument")
	}
	info, err := r.sn.Stat(r.ctx, "a")
	r.must(err, "Stat")
	if info.Parent != "" || info.Kind != snapshots.KindActive {
		r.Errorf("a refused Update left %+v", info)
	}
}

func (r *run) list(filters ...string) []string {
	r.Helper()
	var names []string
	r.must(r.sn.Walk(r.ctx, func(_ context.Context, i snapshots.Info) error { names = append(names, i.Name); return nil }, filters...), "List")
	sort.Strings(names)
	return names
}

func labelsFilter(r *run) {
	r.layer("base", "", func(string) {}, label("team", "blue"))
	r.prepare("one", "base", label("team", "red"))
	r.prepare("two", "", snapshots.WithLabels(map[string]string{"team": "red", "a/b.c": "x y"}))
	_, err := r.sn.View(r.ctx, "view", "base")
	r.must(err, "View")
	for _, c := range []struct {
		filters []string
		want    string
	}{
		{nil, "base one two view"},
		{[]string{"kind==active"}, "one two"},
		{[]string{"kind==view"}, "view"},
		{[]string{"kind==committed"}, "base"},
		{[]string{"parent==base"}, "one view"},
		{[]string{"name==two"}, "two"},
		{[]string{"labels.team==red"}, "one two"},
		{[]string{"labels.team"}, "base one two"},
		{[]string{`labels."a/b.c"=="x y"`}, "two"},
		{[]string{"labels.team==red,parent==base"}, "one"},
		{[]string{"name==two", "name==base"}, "base two"},
		{[]string{"name~=^(one|view)$"}, "one view"},
		{[]string{"name==none"}, ""},
	} {
		if got := r.list(c.filters...); !slices.Equal(got, strings.Fields(c.want)) {
			r.Errorf("filters %q list %v, want %s", c.filters, got, c.want)
		}
	}
	err = r.sn.Walk(r.ctx, func(context.Context, snapshots.Info) error { return nil }, "name==")
	if err == nil {
		r.Errorf("a filter that cannot be parsed is accepted")
	}
}

func labelsLong(r *run) {
	_, err := r.sn.Prepare(r.ctx, "a", "", label("k", strings.Repeat("v", 5000)))
	r.refused(err, errdefs.IsInvalidArgument, "Prepare with a label of 5000 bytes", "InvalidArgument")
	r.prepare("b", "", label("k", strings.Repeat("v", 4000)))
}

// longList: more than one message, in which every name is there once.
func longList(r *run) {
	r.layer("base", "", func(string) {})
	want := []string{"base"}
	for i := range 250 {
		key := fmt.Sprintf("view-%03d", i)
		_, err := r.sn.View(r.ctx, key, "base")
		r.must(err, "View")
		want = append(want, key)
	}
	if got := r.list(); !slices.Equal(got, want) {
		r.Errorf("%d snapshots are listed, want %d, each once", len(got), len(want))
	}
}
