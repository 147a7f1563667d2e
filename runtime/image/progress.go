package image

import "github.com/opencontainers/go-digest"

// Phase says what is being done to an object.
type Phase string

const (
	// Fetching: bytes of a blob come from a registry or an archive.
	Fetching Phase = "fetching"
	// Fetched: the blob is whole, verified, and in the content store.
	Fetched Phase = "fetched"
	// Unpacking: a layer is being applied to a snapshot.
	Unpacking Phase = "unpacking"
	// Unpacked: the layer is applied, verified and committed.
	Unpacked Phase = "unpacked"
)

// Event is one step of one object.
type Event struct {
	// Phase is what is being done.
	Phase Phase
	// Object is the blob's digest.
	Object digest.Digest
	// Kind is what the object is for a person: index, manifest, config, layer.
	Kind string
	// Done and Total are bytes; Total is 0 where it is not known.
	Done, Total int64
}

// Progress receives events. It is called from several goroutines at once and
// must return quickly. A nil Progress is silence.
type Progress func(Event)

func (p Progress) emit(e Event) {
	if p != nil {
		p(e)
	}
}
