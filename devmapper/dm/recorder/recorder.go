package recorder

import (
	"errors"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/dm"
)

// Call is one ioctl.
type Call struct {
	Request uintptr
	In, Out []byte
	// Errno is what the kernel said; 0 for success. Out is empty with one.
	Errno unix.Errno
}

// Recorder is a dm.Kernel that writes down what passes to the one beneath it.
// Calls are in the order in which they came back.
type Recorder struct {
	beneath dm.Kernel
	mu      sync.Mutex
	calls   []Call
}

// Over records what passes to the kernel beneath.
func Over(beneath dm.Kernel) *Recorder { return &Recorder{beneath: beneath} }

// Ioctl passes the call on and writes it down.
func (r *Recorder) Ioctl(request uintptr, buffer []byte) error {
	return r.through(r.beneath, request, buffer)
}

func (r *Recorder) through(k dm.Kernel, request uintptr, buffer []byte) error {
	call := Call{Request: request, In: slices.Clone(buffer)}
	err := k.Ioctl(request, buffer)
	if err == nil {
		call.Out = slices.Clone(buffer)
	} else if !errors.As(err, &call.Errno) {
		return err // no answer of the kernel's
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call)
	return err
}

// Events records what passes to an event queue as well.
func (r *Recorder) Events() (dm.EventQueue, error) {
	source, ok := r.beneath.(dm.Events)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	q, err := source.Events()
	if err != nil {
		return nil, err
	}
	return &queue{EventQueue: q, recorder: r}, nil
}

type queue struct {
	dm.EventQueue
	recorder *Recorder
}

func (q *queue) Ioctl(request uintptr, buffer []byte) error {
	return q.recorder.through(q.EventQueue, request, buffer)
}

// Take returns what was recorded and begins anew.
func (r *Recorder) Take() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

// Count tells how many calls were recorded since the last Take.
func (r *Recorder) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.calls)
}
