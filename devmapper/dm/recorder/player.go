package recorder

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/varve-project/varve/devmapper/dm"
)

// Player is a dm.Kernel that answers from a record. It takes the recorded
// ioctls only, in their order, each with exactly its bytes.
type Player struct {
	mu    sync.Mutex
	calls []Call
	next  int
}

var (
	_ dm.Kernel = (*Player)(nil)
	_ dm.Events = (*Recorder)(nil)
)

// Play answers with what the calls hold.
func Play(calls []Call) *Player { return &Player{calls: calls} }

// Ioctl answers as the kernel did, or with an error that shows the first
// difference between what is asked and what was.
func (p *Player) Ioctl(request uintptr, buffer []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next >= len(p.calls) {
		return fmt.Errorf("ioctl %d: %s is not in the record", p.next, Name(request))
	}
	call := p.calls[p.next]
	if request != call.Request {
		return fmt.Errorf("ioctl %d: %s, the record has %s", p.next, Name(request), Name(call.Request))
	}
	if !bytes.Equal(buffer, call.In) {
		return fmt.Errorf("ioctl %d: %s with other bytes than the record\n%s", p.next, Name(request), difference(buffer, call.In))
	}
	p.next++
	if call.Errno != 0 {
		return call.Errno
	}
	copy(buffer, call.Out)
	return nil
}

// Played counts the ioctls answered so far.
func (p *Player) Played() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

// Left counts the ioctls of the record that nobody asked for.
func (p *Player) Left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.calls) - p.next
}

func difference(got, want []byte) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d bytes, the record has %d", len(got), len(want))
	}
	at := 0
	for got[at] == want[at] {
		at++
	}
	at -= at % lineBytes
	return fmt.Sprintf("asked    %s\nrecorded %s", line('>', at, got), line('>', at, want))
}
