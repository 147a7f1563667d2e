package guest

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varve-project/varve/test/vm/wire"
)

// quiet is how long the pipes of a command that ended may say nothing before
// they are given up: a daemon that it left behind may hold them for ever. What
// is in them is sent however long the host takes to read it.
const quiet = 2 * time.Second

// output is the pipes of a command.
type output struct {
	readers, writers []*os.File
	ended            atomic.Bool // the command has
	copies           sync.WaitGroup
}

// pipe returns a pipe's end for the command; what comes out at the other is
// sent as frames.
func (o *output) pipe(conn *wire.Conn, typ wire.Type, id uint32) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o.readers, o.writers = append(o.readers, r), append(o.writers, w)
	o.copies.Go(func() {
		buf := make([]byte, wire.Chunk)
		for {
			n, err := r.Read(buf)
			// The host being gone is noticed by the loop that reads from it.
			if n > 0 && conn.Send(typ, id, buf[:n]) != nil || err != nil {
				return
			}
			if o.ended.Load() {
				_ = r.SetReadDeadline(time.Now().Add(quiet))
			}
		}
	})
	return w, nil
}

// started closes this process's copies of the command's ends.
func (o *output) started() {
	for _, w := range o.writers {
		_ = w.Close()
	}
	o.writers = nil
}

// drain returns when all that the command wrote has been sent.
func (o *output) drain() {
	o.started()
	o.ended.Store(true)
	for _, r := range o.readers {
		_ = r.SetReadDeadline(time.Now().Add(quiet))
	}
	o.copies.Wait()
	for _, r := range o.readers {
		_ = r.Close()
	}
}
