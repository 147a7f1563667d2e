package firewall

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"testing"
)

// entry is one rule of a legacy table: address bytes, matches, target.
func (t legacyTable) entry(address byte, matches int, name string, verdict int32) []byte {
	b := make([]byte, t.header+matches+40)
	b[0] = address
	binary.NativeEndian.PutUint16(b[t.address+4:], uint16(t.header+matches))
	binary.NativeEndian.PutUint16(b[t.address+6:], uint16(len(b)))
	copy(b[t.header+matches+2:], name)
	binary.NativeEndian.PutUint32(b[t.header+matches+32:], uint32(verdict))
	return b
}

func TestLegacyChain(t *testing.T) {
	for _, table := range legacyTables {
		accept, drop := int32(-2), int32(-1)
		policy := func(v int32) []byte { return table.entry(0, 0, "", v) }
		ours := table.entry(0, 48, "", accept)
		copy(ours[table.header+10:], Comment)
		for name, c := range map[string]struct {
			rules [][]byte
			want  legacyChain
		}{
			"open":            {[][]byte{policy(accept)}, legacyChain{}},
			"policy":          {[][]byte{policy(drop)}, legacyChain{drops: true}},
			"ours":            {[][]byte{ours, policy(drop)}, legacyChain{rules: 1, drops: true, open: true}},
			"last rule":       {[][]byte{table.entry(1, 0, "", accept), table.entry(0, 0, "REJECT", 0), policy(accept)}, legacyChain{rules: 2, drops: true, closed: true}},
			"rule in between": {[][]byte{table.entry(0, 0, "REJECT", 0), table.entry(1, 0, "", accept), policy(accept)}, legacyChain{rules: 2}},
			"with an address": {[][]byte{table.entry(1, 0, "", drop), policy(accept)}, legacyChain{rules: 1}},
			"with a match":    {[][]byte{table.entry(0, 48, "", drop), policy(accept)}, legacyChain{rules: 1}},
		} {
			data := bytes.Join(c.rules, nil)
			got, err := table.parse(data, 0, len(data)-len(c.rules[len(c.rules)-1]))
			if err != nil || got != c.want {
				t.Errorf("%s, %s: %+v (%v), want %+v", table.program, name, got, err, c.want)
			}
		}
	}
}

// No table of the kernel's, however strange, may stop a plug-in dead.
func FuzzLegacyChain(f *testing.F) {
	for _, t := range legacyTables {
		f.Add(append(t.entry(0, 48, "REJECT", 0), t.entry(0, 0, "", -1)...), 0, t.header+88)
	}
	f.Fuzz(func(_ *testing.T, data []byte, first, policy int) {
		for _, t := range legacyTables {
			_, _ = t.parse(data, first, policy)
		}
	})
}

// answer is a bus's message of one kind, with fields and a body.
func answer(kind byte, fields, body wire) []byte {
	m := wire{'l', kind, 0, 1}
	m.u32(uint32(len(body)))
	m.u32(7)
	m.u32(uint32(len(fields)))
	m = append(m, fields...)
	m.align(8)
	return append(m, body...)
}

func TestBusAnswers(t *testing.T) {
	var signal, result, refusal, signalText, resultText, refusalText wire
	signal.field(fieldPath, "o", "/org/freedesktop/DBus")
	signal.field(fieldSignature, "g", "s")
	signalText.text(":1.7")
	result.field(fieldSignature, "g", "s")
	resultText.text("trusted")
	refusal.field(fieldError, "s", "org.example.Error")
	refusal.field(fieldSignature, "g", "s")
	refusalText.text("NOT_ENABLED: 10.0.0.0/8")
	ask := func(answers ...[]byte) (string, error) {
		us, bus := net.Pipe()
		defer us.Close()
		go func() {
			defer bus.Close()
			_, _ = bus.Read(make([]byte, 4096))
			_, _ = bus.Write(bytes.Join(answers, nil))
		}()
		return call(us, firewalldName, firewalldPath, firewalldName+".zone", "getZoneOfSource", "10.0.0.0/8")
	}
	if got, err := ask(answer(4, signal, signalText), answer(methodReturn, result, resultText)); err != nil || got != "trusted" {
		t.Errorf("%q, %v", got, err)
	}
	_, err := ask(answer(errorReply, refusal, refusalText))
	var e *busError
	if !errors.As(err, &e) || e.name != "org.example.Error" || e.text != "NOT_ENABLED: 10.0.0.0/8" {
		t.Errorf("%v", err)
	}
}

// A bus that answers nonsense is an error, not a panic.
func FuzzBusAnswer(f *testing.F) {
	var fields, body wire
	fields.field(fieldError, "s", "org.example.Error")
	fields.field(fieldSignature, "g", "s")
	body.text("text")
	f.Add(answer(errorReply, fields, body))
	f.Fuzz(func(_ *testing.T, data []byte) {
		us, bus := net.Pipe()
		defer us.Close()
		go func() {
			defer bus.Close()
			_, _ = bus.Write(data)
		}()
		_, _, _, _ = receive(us)
	})
}
