package vm

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/varve-project/varve/test/vm/wire"
)

// session is one run of a machine, from its boot to its end.
type session struct {
	qemu    *qemu
	conn    *wire.Conn
	console *console

	mu       sync.Mutex
	nextID   uint32
	running  map[uint32]*run
	cause    error         // why it ended, once ended is closed
	ended    chan struct{} // closed when no frame will come any more
	followed chan struct{} // closed when all of the console has been read
}

// dyingWait is what a guest that is about to be killed gets to tell, on its
// console, what it hangs in.
const dyingWait = 3 * time.Second

// offTimeout bounds an orderly power-off.
const offTimeout = time.Minute

// dial waits for the agent's first frames.
func dial(ctx context.Context, q *qemu, c *console, setup wire.Setup) (*session, error) {
	s := &session{qemu: q, conn: wire.NewConn(q.port), console: c, running: map[uint32]*run{}, ended: make(chan struct{}), followed: make(chan struct{})}
	go func() {
		c.follow(q.console)
		close(s.followed)
	}()
	answer := make(chan error, 1)
	go func() { answer <- s.handshake(setup) }()
	select {
	case err := <-answer:
		if err != nil {
			return nil, s.noBoot(err)
		}
	case <-q.done:
		return nil, s.noBoot(q.ending())
	case <-ctx.Done():
		return nil, s.noBoot(context.Cause(ctx))
	}
	go s.receive()
	return s, nil
}

// noBoot ends a machine that did not come up.
func (s *session) noBoot(err error) error {
	s.qemu.kill()
	s.drainConsole()
	s.qemu.close()
	return &MachineError{Err: fmt.Errorf("%w: %w", ErrNoBoot, err), Console: s.console.tail(consoleShown)}
}

// drainConsole waits for what the dead emulator's console still holds.
func (s *session) drainConsole() {
	select {
	case <-s.followed:
	case <-time.After(time.Second):
	}
}

func (s *session) handshake(setup wire.Setup) error {
	frame, err := s.conn.Receive()
	if err != nil {
		return fmt.Errorf("waiting for the agent: %w", err)
	}
	var hello wire.Hello
	if err := frame.Decode(&hello); err != nil {
		return err
	}
	if frame.Type != wire.TypeHello || hello.Version != wire.Version {
		return fmt.Errorf("the agent speaks version %d and not %d; run: make vm", hello.Version, wire.Version)
	}
	setup.Time = time.Now().UnixNano()
	if err := s.conn.SendJSON(wire.TypeSetup, 0, setup); err != nil {
		return err
	}
	if frame, err = s.conn.Receive(); err != nil {
		return fmt.Errorf("waiting for the guest's set-up: %w", err)
	}
	var ready wire.Ready
	if err := frame.Decode(&ready); err != nil {
		return err
	}
	if ready.Error != "" {
		return fmt.Errorf("setting the guest up: %s", ready.Error)
	}
	return nil
}

// receive hands frames to the commands that they are for, until the machine
// ends.
func (s *session) receive() {
	for {
		frame, err := s.conn.Receive()
		if err != nil {
			// The emulator closes its end only by ending.
			s.end(ErrDied)
			return
		}
		s.mu.Lock()
		r := s.running[frame.ID]
		if frame.Type == wire.TypeExit {
			delete(s.running, frame.ID)
		}
		s.mu.Unlock()
		if r != nil {
			r.take(frame)
		}
	}
}

// end kills the machine for the reason given, unless it ended for another one
// before. It returns when the emulator is gone.
func (s *session) end(cause error) {
	s.mu.Lock()
	first := s.cause == nil
	if first {
		s.cause = cause
	}
	s.mu.Unlock()
	if !first {
		<-s.ended
		return
	}
	s.qemu.kill()
	s.drainConsole()
	s.qemu.close()
	close(s.ended)
}

// alive says whether the machine still runs.
func (s *session) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause == nil
}

// failure is the error for whoever waited for something when it ended.
func (s *session) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &MachineError{Err: s.cause, Console: s.console.tail(consoleShown)}
}

// shutDown powers the guest off in order.
func (s *session) shutDown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, offTimeout)
	defer cancel()
	if err := s.conn.Send(wire.TypeOff, 0, nil); err != nil {
		s.end(ErrDied)
		return s.failure()
	}
	select {
	case <-s.qemu.done:
		s.end(ErrOff)
		return nil
	case <-ctx.Done():
		_ = s.conn.Send(wire.TypeTasks, 0, nil) // into the console, if it can
		time.Sleep(dyingWait)
		s.end(fmt.Errorf("%w: it did not power off: %w", ErrTimeout, context.Cause(ctx)))
		return s.failure()
	}
}

// setup is what the guest is told.
func (m *Machine) setup() wire.Setup {
	setup := wire.Setup{Hostname: "varve-vm", Modules: m.kernel.Modules, Cgroup: m.options.Cgroup, Udev: m.options.Udev, Keep: m.options.Keep}
	if m.options.Tmp > 0 {
		setup.Tmp = diskName(len(m.options.Disks))
	}
	for i, dir := range m.options.Shares {
		setup.Shares = append(setup.Shares, wire.Share{Tag: shareTag(i), Path: dir})
	}
	return setup
}

// start boots once with one accelerator.
func (m *Machine) start(ctx context.Context, accel string) (*session, error) {
	q, err := startQEMU(m.options, m.kernel, accel, m.initrd, m.disks)
	if err != nil {
		return nil, err
	}
	return dial(ctx, q, &m.console, m.setup())
}
