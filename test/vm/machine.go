package vm

import (
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/test/vm/kernel"
)

// Machine is one virtual machine: its disks, and what runs on them between a
// boot and the next. Its methods may be called from several goroutines, but
// Reboot and Boot again only while nothing runs in it.
type Machine struct {
	options Options
	kernel  *kernel.Kernel
	initrd  *os.File
	disks   []*os.File
	console console

	mu      sync.Mutex
	session *session // nil while it is off
}

// Boot starts a machine and returns when commands can run in it. The context
// bounds the boot only. The caller closes the machine.
func Boot(ctx context.Context, o Options) (*Machine, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	m := &Machine{options: o}
	m.console.tee = o.Console
	if err := m.acquire(ctx); err != nil {
		m.Close()
		return nil, err
	}
	if err := m.boot(ctx); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// acquire gets what outlives a boot.
func (m *Machine) acquire(ctx context.Context) error {
	var err error
	if m.kernel, err = kernel.Cached(m.options.Cache); err != nil {
		if m.kernel, err = kernel.Fetch(ctx, m.options.Cache, m.options.Log); err != nil {
			return err
		}
	}
	var more []string
	if m.options.Tmp > 0 {
		more = extModules
	}
	archive, err := initramfs(m.kernel, m.options.Program, more...)
	if err != nil {
		return err
	}
	if m.initrd, err = memoryFile("initramfs", archive); err != nil {
		return err
	}
	for _, disk := range m.options.Disks {
		f, err := disk.open()
		if err != nil {
			return err
		}
		m.disks = append(m.disks, f)
	}
	if m.options.Tmp == 0 {
		return nil
	}
	f, err := newTmp(ctx, m.options.Tmp)
	if err != nil {
		return err
	}
	m.disks = append(m.disks, f)
	return nil
}

// boot makes a session, with the accelerator that works.
func (m *Machine) boot(ctx context.Context) error {
	session, err := m.tryAccelerators(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.session = session
	m.mu.Unlock()
	return nil
}

// current returns the running session.
func (m *Machine) current() (*session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil {
		return nil, ErrOff
	}
	return m.session, nil
}

// Run runs a command in the guest to its end, and returns how it ended. An
// error is a failure of the machine (a *MachineError, or ErrOff), or of
// starting the command. When the context ends first, the whole machine is
// ended: a command that does not finish may hang in the guest's kernel, out of
// reach of any signal.
func (m *Machine) Run(ctx context.Context, cmd Cmd) (Exit, error) {
	session, err := m.current()
	if err != nil {
		return Exit{}, err
	}
	return session.run(ctx, cmd)
}

// PowerCut ends the machine at once, as if its cord were pulled: what the
// guest had not yet written to its disks is lost. What it had written stays,
// flushed or not: disks here have no cache of their own that could be lost; a
// test about that belongs on dm-log-writes or dm-flakey. Shares keep what they
// got. Reboot starts the machine again. Cutting one that is off does nothing.
func (m *Machine) PowerCut() {
	m.mu.Lock()
	session := m.session
	m.session = nil
	m.mu.Unlock()
	if session != nil {
		session.end(ErrOff)
	}
}

// Reboot ends what runs (processes get SIGTERM, three seconds and SIGKILL),
// unmounts disks, powers off and boots again with the same disks. Everything
// that lives in the guest's memory (/tmp, /run, /var, changes to its root) is
// new. A machine that is off or died only boots.
func (m *Machine) Reboot(ctx context.Context) error {
	m.mu.Lock()
	session := m.session
	m.session = nil
	m.mu.Unlock()
	if session != nil && session.alive() {
		if err := session.shutDown(ctx); err != nil {
			return err
		}
	}
	return m.boot(ctx)
}

// Console returns the end of what the guest's console said, at least the last
// 256 KiB over all its boots.
func (m *Machine) Console() string { return m.console.String() }

// Close ends the machine as PowerCut does and drops disks without a path. It
// may be called again.
func (m *Machine) Close() {
	m.PowerCut()
	for _, f := range append(m.disks, m.initrd) {
		if f != nil {
			_ = f.Close() // nothing was written through these
		}
	}
	m.disks, m.initrd = nil, nil
}

// memoryFile returns a file without a name that holds data.
func memoryFile(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("a file in memory for the %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("the %s: %w", name, err)
	}
	return f, nil
}
