package guard

import (
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/internal/finding"
)

// Extension is by how many bytes the spaces are to grow.
type Extension struct{ Data, Metadata uint64 }

// Zero tells whether nothing is to grow.
func (e Extension) Zero() bool { return e == Extension{} }

// Behaviour is a change of what the pool does when it is full.
type Behaviour int

// The changes.
const (
	Keep Behaviour = iota
	ToError
	ToQueue
)

// Verdict is what follows from a Scene.
type Verdict struct {
	// Admit is nil, or the error that whoever wants new space gets:
	// errdefs.ErrResourceExhausted, or ErrUnavailable of a pool that cannot
	// be written at all.
	Admit error
	// Low: a space is past its limit, or nearly; look more often.
	Low bool
	// Wanted is set where a space is to be extended; Extend by how much, as
	// far as the room goes that is known.
	Wanted bool
	Extend Extension
	// Behaviour is the change to make, if any.
	Behaviour Behaviour
	// Findings are what is wrong.
	Findings finding.List
}

// Decide is the guard's whole judgement. It looks at nothing but its
// arguments.
func Decide(l Limits, s Scene) Verdict {
	var v Verdict
	v.Admit = admit(l, s)
	v.Low = s.Mode != Write || near(s.Data, l.low(s.Data.Total, l.dataFloor(s.Data.Total))) ||
		near(s.Metadata, l.low(s.Metadata.Total, l.metadataFloor(s.Metadata.Total)))
	v.Wanted, v.Extend = extension(l, s)
	v.Behaviour = behaviour(l, s)
	v.Findings = findings(l, s, v)
	v.Findings.Sort()
	return v
}

// near: the free space is within a tenth of the whole above the limit.
func near(s Space, limit uint64) bool { return s.Free() <= limit+s.Total/10 }

// dead tells whether the pool cannot be written, whatever is added to it.
func (s Scene) dead() bool {
	return s.Mode == Failed || s.Mode == unknownMode || s.NeedsCheck || s.Mode == ReadOnly && !s.metadataFull()
}

// metadataFull: the kernel says "ro" of this, too. It keeps some metadata back
// for itself and counts it as used.
func (s Scene) metadataFull() bool { return s.Metadata.Total > 0 && s.Metadata.Free() == 0 }

// dataFull: the pool says so, or will at the next write.
func (s Scene) dataFull() bool {
	return s.Mode == OutOfData || s.Data.Total > 0 && s.Data.Free() == 0
}

func admit(l Limits, s Scene) error {
	data, metadata := l.dataFloor(s.Data.Total), l.metadataFloor(s.Metadata.Total)
	switch {
	case s.dead():
		return &refusal{kind: errdefs.ErrUnavailable, text: fmt.Sprintf("pool %s %s; %s", l.Pool, broken(s), repairAdvice)}
	case s.metadataFull():
		return full(l, s, "metadata", "is full", s.Metadata, "")
	case s.dataFull():
		return full(l, s, "data", "is full", s.Data, "")
	case s.Data.Free() < data:
		return full(l, s, "data", "is low", s.Data, kept(data, "min_free_data", l.MinFreeData))
	case s.Metadata.Free() < metadata:
		return full(l, s, "metadata", "is low", s.Metadata, kept(metadata, "min_free_metadata", l.MinFreeMetadata))
	}
	return nil
}

func kept(floor uint64, key string, percent int) string {
	return fmt.Sprintf(", and %s are kept free (%s = %d)", size(floor), key, percent)
}

// full is the error of a space that has run out.
func full(l Limits, s Scene, space, is string, fill Space, kept string) error {
	return &refusal{kind: errdefs.ErrResourceExhausted, text: fmt.Sprintf("the %s space of pool %s %s: %d%% used, %s of %s%s; %s",
		space, l.Pool, is, fill.Fill(), size(fill.Used), size(fill.Total), kept, extendAdvice(l, s, space))}
}

// refusal is an error with one text and a kind behind it: whoever is refused
// reads it in a line of kubelet's log, so the kind's own words come last.
type refusal struct {
	kind error
	text string
}

func (r *refusal) Error() string { return r.text + ": " + r.kind.Error() }
func (r *refusal) Unwrap() error { return r.kind }

// extension computes what is to grow. Metadata come first: they are small, and
// a pool without them stops altogether.
func extension(l Limits, s Scene) (wanted bool, e Extension) {
	if l.ExtendAt == 0 || l.ExtendBy == 0 || s.dead() {
		return false, Extension{}
	}
	room := s.Room.Bytes
	take := func(n uint64) uint64 {
		n = min((n+granule-1)/granule*granule, room/granule*granule)
		room -= n
		return n
	}
	if s.Metadata.Total < MaxMetadata && s.Metadata.Free() <= l.low(s.Metadata.Total, l.metadataFloor(s.Metadata.Total)) {
		wanted = true
		e.Metadata = take(min(percent(s.Metadata.Total, l.ExtendBy), MaxMetadata-s.Metadata.Total))
	}
	if s.Mode == OutOfData || s.Data.Free() <= l.low(s.Data.Total, l.dataFloor(s.Data.Total)) {
		wanted = true
		e.Data = take(percent(s.Data.Total, l.ExtendBy))
	}
	return wanted, e
}

// behaviour keeps the pool's out-of-space behaviour as it was set, but for a
// queue whose time is over. That comes back with space above the floor, not
// with the mode: a pool whose table was loaded anew says "rw" until the next
// write finds it full.
func behaviour(l Limits, s Scene) Behaviour {
	switch {
	case s.dead() || s.metadataFull():
		return Keep
	case !l.Queue:
		if !s.ErrorIfFull {
			return ToError
		}
	case s.Mode == OutOfData:
		if !s.ErrorIfFull && l.QueueFor > 0 && s.FullFor >= l.QueueFor {
			return ToError
		}
	case s.ErrorIfFull && !s.dataFull() && s.Data.Free() >= l.dataFloor(s.Data.Total):
		return ToQueue
	}
	return Keep
}
