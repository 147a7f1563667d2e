package guard

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

const gib, mib = 1 << 30, 1 << 20

var limits = Limits{
	Pool: "vg/varve-pool", Group: "vg", MinFreeData: 10, MinFreeMetadata: 10,
	ExtendAt: 80, ExtendBy: 20,
}

// scene is a healthy pool of 100 GiB with 1 GiB of metadata.
func scene(change func(*Scene)) Scene {
	s := Scene{
		Status: Status{
			Data: Space{10 * gib, 100 * gib}, Metadata: Space{100 * mib, 1024 * mib}, Mode: Write, ErrorIfFull: true,
		},
		Room: Room{Bytes: 500 * gib, Known: true}, KernelTimeout: time.Minute,
	}
	change(&s)
	return s
}

func TestDecide(t *testing.T) {
	queue := limits
	queue.Queue, queue.QueueFor = true, 30*time.Second
	manual := limits
	manual.ExtendAt, manual.ExtendBy = 0, 0
	bare := manual
	bare.Group = ""
	open := limits
	open.MinFreeData, open.MinFreeMetadata = 0, 0
	const data20 = "varve-devmapper pool extend --data-size +20480M"
	for name, c := range map[string]struct {
		limits    Limits
		scene     func(*Scene)
		kind      error    // of the refusal
		says      []string // in the refusal
		extend    Extension
		wanted    bool
		behaviour Behaviour
		low       bool
		findings  string // ids with severities
	}{
		"healthy":        {limits: limits, scene: func(*Scene) {}},
		"healthy, queue": {limits: queue, scene: func(s *Scene) { s.ErrorIfFull = false }},
		"past extend_at": {
			limits: limits, scene: func(s *Scene) { s.Data.Used = 80 * gib }, low: true,
			wanted: true, extend: Extension{Data: 20 * gib}, findings: "warning devmapper.pool.data-low",
		},
		"just before it": {limits: limits, scene: func(s *Scene) { s.Data.Used = 80*gib - 1 }, low: true},
		"no extension":   {limits: manual, scene: func(s *Scene) { s.Data.Used = 89 * gib }, low: true},
		"below the floor": {
			limits: manual, scene: func(s *Scene) { s.Data.Used = 90*gib + 1 }, low: true,
			kind: errdefs.ErrResourceExhausted,
			says: []string{
				"data space of pool vg/varve-pool is low: 90% used, 90.0 GiB of 100 GiB, and 10.0 GiB are kept free (min_free_data = 10)",
				"`" + data20 + "`",
			},
			findings: "error devmapper.pool.data-low",
		},
		"at the floor": {limits: manual, scene: func(s *Scene) { s.Data.Used = 90 * gib }, low: true},
		"the floor above extend_at extends too": {
			limits: func() Limits { l := limits; l.ExtendAt = 95; return l }(),
			scene:  func(s *Scene) { s.Data.Used = 91 * gib }, low: true,
			kind: errdefs.ErrResourceExhausted, wanted: true, extend: Extension{Data: 20 * gib}, findings: "error devmapper.pool.data-low",
		},
		"little room": {
			limits: limits, scene: func(s *Scene) { s.Data.Used, s.Room.Bytes = 91*gib, 3*gib+1 }, low: true,
			kind: errdefs.ErrResourceExhausted, says: []string{"`varve-devmapper pool extend --data-size +3072M`"},
			wanted: true, extend: Extension{Data: 3 * gib},
			findings: "error devmapper.pool.data-low, error devmapper.pool.no-room",
		},
		"no room": {
			limits: limits, scene: func(s *Scene) { s.Data.Used, s.Room.Bytes = 91*gib, mib }, low: true,
			kind: errdefs.ErrResourceExhausted, says: []string{"volume group vg, which has no room (`varve-devmapper pool extend --device /dev/DISK`)", "`" + data20 + "`"},
			wanted: true, findings: "error devmapper.pool.data-low, error devmapper.pool.no-room",
		},
		"room will be short": {
			limits: limits, scene: func(s *Scene) { s.Room.Bytes = 19 * gib }, findings: "warning devmapper.pool.no-room",
		},
		"room unknown": {
			limits: limits, scene: func(s *Scene) { s.Data.Used, s.Room = 85*gib, Room{} }, low: true,
			wanted: true, findings: "warning devmapper.pool.data-low",
		},
		"no volume group": {
			limits: bare, scene: func(s *Scene) { s.Data.Used, s.Room = 95*gib, Room{} }, low: true,
			kind: errdefs.ErrResourceExhausted, says: []string{"enlarge the pool's data device and have the pool use it: `varve-devmapper pool extend`"},
			findings: "error devmapper.pool.data-low",
		},
		"files": {
			limits: func() Limits { l := bare; l.Files = true; return l }(), scene: func(s *Scene) { s.Data.Used, s.Room = 95*gib, Room{} }, low: true,
			kind: errdefs.ErrResourceExhausted, says: []string{"or extend the pool: `" + data20 + "`"}, findings: "error devmapper.pool.data-low",
		},
		"metadata past extend_at": {
			limits: limits, scene: func(s *Scene) { s.Metadata.Used = 900 * mib }, low: true,
			wanted: true, extend: Extension{Metadata: 208 * mib}, findings: "warning devmapper.pool.metadata-low",
		},
		"metadata below the floor": {
			limits: manual, scene: func(s *Scene) { s.Metadata.Used = 1000 * mib }, low: true,
			kind: errdefs.ErrResourceExhausted,
			says: []string{"metadata space of pool vg/varve-pool is low: 97% used", "min_free_metadata = 10", "`varve-devmapper pool extend --metadata-size +208M`"},

			findings: "error devmapper.pool.metadata-low",
		},
		"metadata come first when room is short": {
			limits: limits, scene: func(s *Scene) { s.Metadata.Used, s.Data.Used, s.Room.Bytes = 1000*mib, 95*gib, 210*mib }, low: true,
			kind: errdefs.ErrResourceExhausted, wanted: true, extend: Extension{Metadata: 208 * mib},
			findings: "error devmapper.pool.data-low, error devmapper.pool.metadata-low, error devmapper.pool.no-room",
		},
		"metadata at the limit": {
			limits: limits, scene: func(s *Scene) { s.Metadata = Space{14 * gib, MaxMetadata} }, low: true,
			findings: "warning devmapper.pool.metadata-at-limit",
		},
		"metadata near the limit": {
			limits: limits, scene: func(s *Scene) { s.Metadata = Space{14 * gib, 15 * gib} }, low: true,
			kind: errdefs.ErrResourceExhausted, wanted: true, extend: Extension{Metadata: 828 * mib},
			findings: "error devmapper.pool.metadata-low",
		},
		"metadata at the limit and below the floor": {
			limits: manual, scene: func(s *Scene) { s.Metadata = Space{MaxMetadata - gib, MaxMetadata} }, low: true,
			kind: errdefs.ErrResourceExhausted, says: []string{"as large as a pool's can be"},
			findings: "error devmapper.pool.metadata-low",
		},
		"metadata full": {
			limits: limits, scene: func(s *Scene) { s.Metadata.Used, s.Mode = 1024*mib, ReadOnly }, low: true,
			kind: errdefs.ErrResourceExhausted, says: []string{"metadata space of pool vg/varve-pool is full"},
			wanted: true, extend: Extension{Metadata: 208 * mib}, findings: "error devmapper.pool.metadata-full",
		},
		"data full": {
			limits: limits, scene: func(s *Scene) { s.Data.Used, s.Mode = 100*gib, OutOfData }, low: true,
			kind: errdefs.ErrResourceExhausted, says: []string{"data space of pool vg/varve-pool is full: 100% used", data20},
			wanted: true, extend: Extension{Data: 20 * gib}, findings: "error devmapper.pool.data-full",
		},
		"data full, no floors": {
			limits: open, scene: func(s *Scene) { s.Data.Used, s.Mode = 100*gib, OutOfData }, low: true,
			kind: errdefs.ErrResourceExhausted, wanted: true, extend: Extension{Data: 20 * gib}, findings: "error devmapper.pool.data-full",
		},
		"nearly full, no floors, no extension": {
			limits: func() Limits { l := open; l.ExtendAt = 0; return l }(),
			scene:  func(s *Scene) { s.Data.Used = 99 * gib }, low: true,
		},
		"read-only": {
			limits: limits, scene: func(s *Scene) { s.Mode = ReadOnly }, low: true,
			kind: errdefs.ErrUnavailable, says: []string{"pool vg/varve-pool is read-only", "`varve-devmapper pool repair`"},
			findings: "error devmapper.pool.read-only",
		},
		"needs a check": {
			limits: limits, scene: func(s *Scene) { s.Mode, s.NeedsCheck = ReadOnly, true }, low: true,
			kind: errdefs.ErrUnavailable, says: []string{"needs a check"}, findings: "error devmapper.pool.needs-check",
		},
		"full metadata that need a check are not extended": {
			limits: limits, scene: func(s *Scene) { s.Mode, s.NeedsCheck, s.Metadata.Used = ReadOnly, true, 1024*mib }, low: true,
			kind: errdefs.ErrUnavailable, findings: "error devmapper.pool.needs-check",
		},
		"failed": {
			limits: limits, scene: func(s *Scene) { s.Status = Status{Mode: Failed} }, low: true,
			kind: errdefs.ErrUnavailable, says: []string{"has failed"}, findings: "error devmapper.pool.failed",
		},
		"wants error, has queue": {limits: limits, scene: func(s *Scene) { s.ErrorIfFull = false }, behaviour: ToError},
		"wants queue, has error": {limits: queue, scene: func(*Scene) {}, behaviour: ToQueue},
		"queue comes back with space, not with the mode": {
			limits: queue, scene: func(s *Scene) { s.Data.Used = 100 * gib },
			low: true, kind: errdefs.ErrResourceExhausted, says: []string{"is full"}, wanted: true, extend: Extension{Data: 20 * gib},
			findings: "error devmapper.pool.data-full",
		},
		"queue comes back above the floor": {
			limits: queue, scene: func(s *Scene) { s.Data.Used = 91 * gib },
			low: true, kind: errdefs.ErrResourceExhausted, wanted: true, extend: Extension{Data: 20 * gib}, findings: "error devmapper.pool.data-low",
		},
		"queue goes on": {
			limits: queue, scene: func(s *Scene) {
				s.ErrorIfFull, s.Mode, s.Data.Used, s.FullFor = false, OutOfData, 100*gib, 29*time.Second
			},
			low: true, kind: errdefs.ErrResourceExhausted, wanted: true, extend: Extension{Data: 20 * gib}, findings: "error devmapper.pool.data-full",
		},
		"queue is over": {
			limits: queue, scene: func(s *Scene) {
				s.ErrorIfFull, s.Mode, s.Data.Used, s.FullFor = false, OutOfData, 100*gib, 30*time.Second
			},
			low: true, kind: errdefs.ErrResourceExhausted, wanted: true, extend: Extension{Data: 20 * gib}, behaviour: ToError, findings: "error devmapper.pool.data-full",
		},
		"queue has been ended": {
			limits: queue, scene: func(s *Scene) { s.Mode, s.Data.Used, s.FullFor = OutOfData, 100*gib, time.Hour },
			low: true, kind: errdefs.ErrResourceExhausted, wanted: true, extend: Extension{Data: 20 * gib}, findings: "error devmapper.pool.data-full",
		},
		"queue_for 0 is the kernel's business": {
			limits: func() Limits { l := queue; l.QueueFor = 0; return l }(),
			scene:  func(s *Scene) { s.ErrorIfFull, s.Mode, s.Data.Used, s.FullFor = false, OutOfData, 100*gib, time.Hour },
			low:    true, kind: errdefs.ErrResourceExhausted, wanted: true, extend: Extension{Data: 20 * gib}, findings: "error devmapper.pool.data-full",
		},
		"the kernel cuts the queue": {
			limits: queue, scene: func(s *Scene) { s.ErrorIfFull, s.KernelTimeout = false, 10*time.Second }, findings: "warning devmapper.pool.queue-cut",
		},
		"the kernel queues for ever": {
			limits: queue, scene: func(s *Scene) { s.ErrorIfFull, s.KernelTimeout = false, 0 }, findings: "warning devmapper.pool.queue-unbounded",
		},
		"the parameter cannot be read": {limits: queue, scene: func(s *Scene) { s.ErrorIfFull, s.KernelTimeout = false, -1 }},
		"the parameter matters to queues only": {
			limits: limits, scene: func(s *Scene) { s.KernelTimeout = 0 },
		},
		"extension failed": {
			limits: limits, scene: func(s *Scene) { s.ExtendFailed, s.Data.Used = errors.New("locked"), 85*gib }, low: true,
			wanted: true, extend: Extension{Data: 20 * gib}, findings: "error devmapper.pool.extend-failed, warning devmapper.pool.data-low",
		},
		"behaviour failed": {
			limits: limits, scene: func(s *Scene) { s.BehaviourFailed, s.ErrorIfFull = errors.New("busy"), false }, behaviour: ToError,
			findings: "error devmapper.pool.behaviour-not-set",
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := Decide(c.limits, scene(c.scene))
			if !errors.Is(v.Admit, c.kind) || (v.Admit == nil) != (c.kind == nil) {
				t.Errorf("admission: %v, want %v", v.Admit, c.kind)
			}
			for _, text := range c.says {
				if v.Admit == nil || !strings.Contains(v.Admit.Error(), text) {
					t.Errorf("admission: %v\nwant %q in it", v.Admit, text)
				}
			}
			if v.Extend != c.extend || v.Wanted != c.wanted {
				t.Errorf("extension %+v, wanted %v; want %+v, %v", v.Extend, v.Wanted, c.extend, c.wanted)
			}
			if v.Behaviour != c.behaviour || v.Low != c.low {
				t.Errorf("behaviour %v, low %v; want %v, %v", v.Behaviour, v.Low, c.behaviour, c.low)
			}
			var ids []string
			for _, f := range v.Findings {
				ids = append(ids, string(f.Severity)+" "+f.ID)
				if f.Object != c.limits.Pool || f.Text == "" || f.Meaning == "" || f.Remedy == "" {
					t.Errorf("finding lacks something: %+v", f)
				}
			}
			if got := strings.Join(ids, ", "); got != c.findings {
				t.Errorf("findings %q, want %q", got, c.findings)
			}
		})
	}
}

// However a space is filled, the error of a refusal is one line with the pool,
// the fill and a command or a deed.
func TestEveryRefusalHasPoolFillAndRemedy(t *testing.T) {
	for used := uint64(0); used <= 100; used++ {
		for _, mode := range []Mode{Write, OutOfData, ReadOnly, Failed} {
			for _, room := range []Room{{}, {0, true}, {gib, true}, {500 * gib, true}} {
				s := scene(func(s *Scene) {
					s.Data.Used, s.Metadata.Used, s.Mode, s.Room = used*gib, used*1024*mib/100, mode, room
				})
				v := Decide(limits, s)
				if v.Extend.Data+v.Extend.Metadata > room.Bytes {
					t.Fatalf("%+v: extension %+v is more than there is", s, v.Extend)
				}
				if v.Admit == nil {
					continue
				}
				text := v.Admit.Error()
				if !strings.Contains(text, "pool vg/varve-pool") || !strings.Contains(text, "`varve-devmapper pool ") || strings.Contains(text, "\n") {
					t.Fatalf("refusal %q", text)
				}
				if errdefs.IsResourceExhausted(v.Admit) && !strings.Contains(text, "% used") {
					t.Fatalf("refusal %q says no fill", text)
				}
			}
		}
	}
}

func TestLowWater(t *testing.T) {
	const block = 64 << 10
	for _, c := range []struct {
		limits Limits
		bytes  uint64
		want   uint64 // percent of the pool
	}{
		{limits, 100 * gib, 22},
		{Limits{MinFreeData: 30, ExtendAt: 80, ExtendBy: 1}, 100 * gib, 32},
		{Limits{MinFreeData: 10}, 100 * gib, 12},
		{Limits{}, 100 * gib, 2},
		{Limits{MinFreeData: 90, ExtendAt: 1}, 100 * gib, 100},
		{limits, 1 << 57, 22},
	} {
		got, want := LowWater(c.limits, c.bytes, block), c.bytes/block*c.want/100
		if got > want+1 || got+2 < want {
			t.Errorf("%+v of %d bytes: %d blocks, want %d", c.limits, c.bytes, got, want)
		}
	}
	if got := LowWater(limits, 100*gib, 0); got != 0 {
		t.Errorf("without a block size: %d", got)
	}
}

func TestSize(t *testing.T) {
	var got []string
	for _, n := range []uint64{0, 1023, 1024, 1536, 99 * mib, 100 * mib, 1 << 60} {
		got = append(got, size(n))
	}
	want := []string{"0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "99.0 MiB", "100 MiB", "1024 PiB"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
