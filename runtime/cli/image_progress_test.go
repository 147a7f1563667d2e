package cli

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/varve-project/varve/runtime/image"
)

func TestBar(t *testing.T) {
	e := image.Event{Phase: image.Fetching, Object: digest.FromString("x"), Kind: "layer", Done: 50, Total: 100}
	for _, width := range []int{60, 80, 200} {
		line := bar(e, width)
		full, room := strings.Count(line, "="), strings.Index(line, "]")-strings.Index(line, "[")-1
		if len(line) >= width || full != room/2 {
			t.Errorf("width %d: %q", width, line)
		}
	}
	for _, e := range []image.Event{{Object: e.Object}, {Object: e.Object, Done: 5, Total: 3}, {Object: e.Object, Total: 1}} {
		if line := bar(e, 80); len(line) >= 80 {
			t.Errorf("%+v: %q", e, line)
		}
	}
}

// In a pipe there is one line per step that is done, and none twice.
func TestProgressInAPipe(t *testing.T) {
	var out strings.Builder
	p := newProgress(&out)
	e := image.Event{Phase: image.Fetching, Object: digest.FromString("x"), Kind: "layer", Total: 10}
	for done := range int64(10) {
		e.Done = done
		p.event(e)
	}
	e.Phase, e.Done = image.Fetched, 10
	p.event(e)
	p.event(e)
	p.close()
	if got := strings.Count(out.String(), "\n"); got != 1 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%q, want one plain line", out.String())
	}
}

// More parts than lines: what is under way is shown, and no line too many.
func TestProgressOnASmallScreen(t *testing.T) {
	p := &progress{width: 80, height: 10, parts: map[digest.Digest]image.Event{}}
	for i := range 50 {
		e := image.Event{Phase: image.Fetched, Object: digest.FromString(string(rune('a' + i)))}
		if i >= 45 {
			e.Phase = image.Unpacking
		}
		p.order, p.parts[e.Object] = append(p.order, e.Object), e
	}
	visible := p.visible()
	if len(visible) != 9 {
		t.Fatalf("%d lines, want 9", len(visible))
	}
	for _, id := range visible[:5] {
		if p.parts[id].Phase != image.Unpacking {
			t.Errorf("%v comes before what is under way", p.parts[id])
		}
	}
}
