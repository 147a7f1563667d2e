// Package wire is how the host and the agent in the guest talk: frames over
// one virtio-serial port, many commands at once.
//
// A port is used, not the console, because it carries any byte and loses none.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Version is that of the frames and their content; Hello carries it, so that
// an agent of another build is noticed instead of misunderstood.
const Version = 1

// PortName is the virtio-serial port's, by which the agent finds it.
const PortName = "varve.vm"

// Chunk is the most data bytes in one frame.
const Chunk = 64 << 10

// maxFrame bounds what a reader allocates for one frame: a command's
// arguments and environment, at most.
const maxFrame = 8 << 20

// Type says what a frame is. Below each direction stand the content and what
// ID means; ID is 0 where nothing is said.
type Type uint8

// Frames from the host.
const (
	TypeSetup  Type = iota + 1 // Setup: make the root; answered by TypeReady
	TypeStart                  // Command, under a new ID
	TypeStdin                  // bytes for ID, at most one frame until TypeStdinTaken; empty ends them
	TypeSignal                 // one byte, the signal's number, for ID's process
	TypeTasks                  // write the blocked tasks to the console
	TypeOff                    // sync and power off
)

// Frames from the guest.
const (
	TypeHello      Type = iota + 64 // Hello: the agent runs
	TypeReady                       // Ready: the root is made, or not
	TypeStdout                      // bytes of ID
	TypeStderr                      // bytes of ID
	TypeStdinTaken                  // ID has taken its TypeStdin, or will take no more
	TypeExit                        // Exit of ID; its last frame
)

// Frame is one message.
type Frame struct {
	Type Type
	ID   uint32
	Data []byte
}

// Decode reads the JSON content of a frame.
func (f Frame) Decode(v any) error {
	if err := json.Unmarshal(f.Data, v); err != nil {
		return fmt.Errorf("frame of type %d: %w", f.Type, err)
	}
	return nil
}

// Conn sends and receives frames. Sends may come from many goroutines,
// receives from one.
type Conn struct {
	rw   io.ReadWriter
	send sync.Mutex
}

// NewConn speaks over rw, which the caller closes.
func NewConn(rw io.ReadWriter) *Conn { return &Conn{rw: rw} }

// headerSize is that of type, ID and length.
const headerSize = 1 + 4 + 4

// Send writes one frame.
func (c *Conn) Send(typ Type, id uint32, data []byte) error {
	buf := make([]byte, headerSize, headerSize+len(data))
	buf[0] = byte(typ)
	binary.LittleEndian.PutUint32(buf[1:], id)
	binary.LittleEndian.PutUint32(buf[5:], uint32(len(data)))
	buf = append(buf, data...)
	c.send.Lock()
	defer c.send.Unlock()
	if _, err := c.rw.Write(buf); err != nil {
		return fmt.Errorf("sending a frame of type %d: %w", typ, err)
	}
	return nil
}

// SendJSON writes one frame with v as its content.
func (c *Conn) SendJSON(typ Type, id uint32, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("sending a frame of type %d: %w", typ, err)
	}
	return c.Send(typ, id, data)
}

// Receive reads the next frame; io.EOF where the other side is gone.
func (c *Conn) Receive() (Frame, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(c.rw, header[:]); err != nil {
		return Frame{}, err
	}
	size := binary.LittleEndian.Uint32(header[5:])
	if size > maxFrame {
		return Frame{}, fmt.Errorf("a frame of %d bytes; at most %d are sent, so the stream is out of step", size, maxFrame)
	}
	f := Frame{Type: Type(header[0]), ID: binary.LittleEndian.Uint32(header[1:]), Data: make([]byte, size)}
	if _, err := io.ReadFull(c.rw, f.Data); err != nil {
		return Frame{}, fmt.Errorf("in a frame of type %d: %w", f.Type, io.ErrUnexpectedEOF)
	}
	return f, nil
}
