package dm

import (
	"testing"

	"golang.org/x/sys/unix"
)

// answer is a kernel that answers everything with the same bytes.
type answer []byte

func (a answer) Ioctl(_ uintptr, buffer []byte) error {
	copy(buffer, a)
	return nil
}

// FuzzAnswer: whatever a kernel answers, no method panics or reads beyond the
// buffer, or asks for more than a bounded one.
func FuzzAnswer(f *testing.F) {
	table := command{targets: 2, payload: encodeTargets([]Target{{0, 8, "linear", "8:0 0"}, {8, 8, "zero", ""}})}.encode(64)
	table.setU32(atFlags, unix.DM_ACTIVE_PRESENT_FLAG)
	f.Add([]byte(table))
	list := command{payload: make([]byte, 64)}.encode(0)
	native.PutUint64(list[headerSize:], unix.Mkdev(253, 1))
	copy(list[headerSize+listName:], "name")
	native.PutUint32(list[headerSize+32:], unix.DM_NAME_LIST_FLAG_HAS_UUID)
	f.Add([]byte(list))
	message := command{payload: []byte("an answer")}.encode(0)
	message.setU32(atFlags, unix.DM_DATA_OUT_FLAG)
	f.Add([]byte(message))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= headerSize {
			// Growing is bounded, and slow to fuzz.
			h := header(data)
			h.setU32(atFlags, h.flags()&^unix.DM_BUFFER_FULL_FLAG)
		}
		c := New(answer(data))
		_, _ = c.Version()
		_, _ = c.Stat("x")
		_, _ = c.Table("x")
		_, _ = c.InactiveTable("x")
		_, _, _ = c.Status("x", StatusOptions{})
		_, _ = c.Deps("x")
		_, _ = c.List()
		_, _ = c.Targets()
		_, _ = c.TargetVersion("x")
		_, _ = c.Message("x", 0, "y")
	})
}

// FuzzTargets: a table comes back from its bytes as it went in.
func FuzzTargets(f *testing.F) {
	f.Add(uint64(8), "linear", "8:0 0", uint8(3))
	f.Fuzz(func(t *testing.T, length uint64, kind, params string, n uint8) {
		targets := make([]Target, n)
		for i := range targets {
			targets[i] = Target{Start: uint64(i) * length, Length: length, Type: kind, Params: params}
		}
		if length > 1<<40 || checkTargets(targets) != nil {
			return
		}
		// A load counts next from the target, an answer from the first one.
		data := encodeTargets(targets)
		for at := 0; at < len(data); {
			next := at + int(native.Uint32(data[at+atNext:]))
			if next%8 != 0 {
				t.Fatalf("target at byte %d, which is not on 8", next)
			}
			native.PutUint32(data[at+atNext:], uint32(next))
			at = next
		}
		again, err := parseTargets(data, uint32(n))
		if err != nil {
			t.Fatal(err)
		}
		for i := range targets {
			if again[i] != targets[i] {
				t.Fatalf("target %d: %+v, was %+v", i, again[i], targets[i])
			}
		}
	})
}
