package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/test/vm/wire"
)

// agent runs commands for the host.
type agent struct {
	conn   *wire.Conn
	shares []string

	mu       sync.Mutex
	commands map[uint32]*command
}

// Agent serves the host over the inherited port until the host is gone. args
// are the shared folders.
func Agent(args []string) error {
	unix.CloseOnExec(portFD)
	port := os.NewFile(portFD, "port")
	a := &agent{conn: wire.NewConn(port), shares: args, commands: map[uint32]*command{}}
	if err := a.conn.SendJSON(wire.TypeReady, 0, wire.Ready{}); err != nil {
		return err
	}
	for {
		frame, err := a.conn.Receive()
		if errors.Is(err, io.EOF) {
			return errors.New("the host hung up")
		}
		if err != nil {
			return err
		}
		if err := a.handle(frame); err != nil {
			return err
		}
	}
}

func (a *agent) handle(frame wire.Frame) error {
	switch frame.Type {
	case wire.TypeStart:
		return a.start(frame)
	case wire.TypeStdin:
		if c := a.command(frame.ID); c != nil {
			c.stdin <- frame.Data
			return nil
		}
		return a.conn.Send(wire.TypeStdinTaken, frame.ID, nil)
	case wire.TypeSignal:
		if c := a.command(frame.ID); c != nil && len(frame.Data) == 1 {
			c.signal(unix.Signal(frame.Data[0]))
		}
		return nil
	case wire.TypeTasks:
		// w: tasks in uninterruptible sleep. It goes to the console.
		return os.WriteFile("/proc/sysrq-trigger", []byte("w"), 0)
	case wire.TypeOff:
		return powerOff()
	default:
		return fmt.Errorf("a frame of unknown type %d", frame.Type)
	}
}

func (a *agent) command(id uint32) *command {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.commands[id]
}

// start runs a command; its frames come from a goroutine of its own.
func (a *agent) start(frame wire.Frame) error {
	var spec wire.Command
	if err := frame.Decode(&spec); err != nil {
		return err
	}
	c := &command{id: frame.ID, spec: spec, stdin: make(chan []byte, 2), done: make(chan struct{})}
	a.mu.Lock()
	a.commands[frame.ID] = c
	a.mu.Unlock()
	go func() {
		exit := a.run(c)
		a.mu.Lock()
		delete(a.commands, c.id)
		a.mu.Unlock()
		close(c.done)
		for _, dir := range a.shares {
			syncShare(dir)
		}
		// The host being gone is noticed by the loop that reads.
		_ = a.conn.SendJSON(wire.TypeExit, c.id, exit)
	}()
	return nil
}

// syncShare writes what is mapped and dirty, so that the host sees all that a
// command wrote once it hears of its end.
func syncShare(dir string) {
	f, err := os.Open(dir)
	if err != nil {
		return // the command may have removed or covered its own share
	}
	defer f.Close()
	_ = unix.Syncfs(int(f.Fd()))
}
