package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/opencontainers/go-digest"
	"golang.org/x/term"

	"github.com/varve-project/varve/runtime/image"
)

// redraw is how often the bars on a terminal are drawn anew.
const redraw = 100 * time.Millisecond

// progress shows what happens to the parts of an image: bars that are drawn
// over each other on a terminal, one line per finished step elsewhere.
type progress struct {
	out           io.Writer
	width, height int // of the terminal; 0 for none

	mu    sync.Mutex
	order []digest.Digest
	parts map[digest.Digest]image.Event
	drawn int
	stop  chan struct{}
	done  chan struct{}
}

// newProgress shows on out until close.
func newProgress(out io.Writer) *progress {
	p := &progress{out: out, parts: map[digest.Digest]image.Event{}, stop: make(chan struct{}), done: make(chan struct{})}
	if f, ok := out.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		p.width, p.height = 80, 24
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 1 {
			p.width, p.height = w, h
		}
	}
	if p.width == 0 {
		close(p.done)
		return p
	}
	go p.loop()
	return p
}

// event is an image.Progress.
func (p *progress) event(e image.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, known := p.parts[e.Object]
	if e.Kind == "blob" && known {
		e.Kind = before.Kind
	}
	if known && before.Phase == e.Phase && e.Done < before.Done {
		return
	}
	p.parts[e.Object] = e
	if !known {
		p.order = append(p.order, e.Object)
	}
	finished := e.Phase == image.Fetched || e.Phase == image.Unpacked
	if p.width == 0 && finished && (!known || before.Phase != e.Phase) {
		fmt.Fprintf(p.out, "%-8s %s %s (%s)\n", e.Phase, e.Kind, shortDigest(e.Object), humanSize(e.Total))
	}
}

// close draws the last state; nothing is drawn after it.
func (p *progress) close() {
	close(p.stop)
	<-p.done
}

func (p *progress) loop() {
	defer close(p.done)
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.draw()
		case <-p.stop:
			p.draw()
			return
		}
	}
}

func (p *progress) draw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", p.drawn)
	}
	visible := p.visible()
	for _, id := range visible {
		b.WriteString("\r\x1b[K" + bar(p.parts[id], p.width) + "\n")
	}
	p.drawn = len(visible)
	_, _ = io.WriteString(p.out, b.String())
}

// visible are the parts that fit on the screen: all, or else those that are not
// done, and of these the first.
func (p *progress) visible() []digest.Digest {
	room := p.height - 1
	if len(p.order) <= room {
		return p.order
	}
	var busy, done []digest.Digest
	for _, id := range p.order {
		if phase := p.parts[id].Phase; phase == image.Fetched || phase == image.Unpacked {
			done = append(done, id)
		} else {
			busy = append(busy, id)
		}
	}
	return append(busy, done...)[:room]
}

// bar is one line of at most width columns.
func bar(e image.Event, width int) string {
	left := fmt.Sprintf("%-9s %-8s %s ", e.Phase, e.Kind, shortDigest(e.Object))
	right := fmt.Sprintf(" %9s", humanSize(e.Total))
	room := width - len(left) - len(right) - 3
	if room < 10 || e.Total <= 0 {
		return left
	}
	full := int(int64(room) * min(e.Done, e.Total) / e.Total)
	return left + "[" + strings.Repeat("=", full) + strings.Repeat(" ", room-full) + "]" + right
}

func shortDigest(d digest.Digest) string {
	hex := d.Encoded()
	return hex[:min(12, len(hex))]
}
