package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestFrames(t *testing.T) {
	var pipe bytes.Buffer
	c := NewConn(&pipe)
	data := bytes.Repeat([]byte{0, 1, 255, '\n'}, Chunk/4)
	if err := errors.Join(
		c.Send(TypeStdout, 7, data), c.Send(TypeStdin, 8, nil), c.SendJSON(TypeExit, 9, Exit{Code: 3}),
	); err != nil {
		t.Fatal(err)
	}
	first, err := c.Receive()
	if err != nil || first.Type != TypeStdout || first.ID != 7 || !bytes.Equal(first.Data, data) {
		t.Errorf("frame of type %d, ID %d, %d bytes, %v", first.Type, first.ID, len(first.Data), err)
	}
	if empty, err := c.Receive(); err != nil || empty.ID != 8 || len(empty.Data) != 0 {
		t.Errorf("%+v, %v", empty, err)
	}
	last, err := c.Receive()
	var exit Exit
	if err := errors.Join(err, last.Decode(&exit)); err != nil || exit.Code != 3 {
		t.Errorf("%+v, %v", exit, err)
	}
	if _, err := c.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// TestOutOfStep: what is no frame is an error, not memory for a length that
// nobody sent.
func TestOutOfStep(t *testing.T) {
	for want, stream := range map[string]string{
		"out of step":         "\x01\x00\x00\x00\x00\xff\xff\xff\xff",
		"unexpected EOF":      "\x01\x00",
		"in a frame of type ": "\x01\x00\x00\x00\x00\x05\x00\x00\x00abc",
	} {
		_, err := NewConn(bytes.NewBufferString(stream)).Receive()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", stream, err, want)
		}
	}
}
