package vm

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/test/vm/guest"
	"github.com/varve-project/varve/test/vm/kernel"
	"github.com/varve-project/varve/test/vm/wire"
)

// emulator is the one program that is run.
const emulator = "qemu-system-x86_64"

// cmdline is the kernel's. A kernel that oopsed or panicked ends the machine,
// so that it is a failure at once and not a hang. The watchdogs and the check
// of the timer's interrupt are off: an emulator that has to wait for its turn
// is slow, and they take that for broken hardware (the latter by a panic,
// "IO-APIC + timer doesn't work").
const cmdline = "console=ttyS0 panic=-1 oops=panic nowatchdog no_timer_check mitigations=off random.trust_cpu=on " +
	"loglevel=5 rdinit=" + guest.Init

// qemu is one running emulator.
type qemu struct {
	cmd     *exec.Cmd
	port    *os.File // our end of the agent's port
	console *os.File // our end of the console
	done    chan struct{}
	err     error // of the process, once done is closed
}

// fds hands files to the emulator and names them as it sees them.
type fds struct {
	files []*os.File
}

func (f *fds) add(file *os.File) int {
	f.files = append(f.files, file)
	return 2 + len(f.files)
}

// startQEMU starts an emulator that dies with this process. The initramfs and
// the disks stay the caller's.
func startQEMU(o Options, k *kernel.Kernel, accel string, initrd *os.File, disks []*os.File) (*qemu, error) {
	path, err := exec.LookPath(emulator)
	if err != nil {
		return nil, fmt.Errorf("%w; run: test/install-packages test/vm/packages.txt", err)
	}
	port, portEnd, err := socketPair("port")
	if err != nil {
		return nil, err
	}
	defer portEnd.Close()
	console, consoleEnd, err := socketPair("console")
	if err != nil {
		_ = port.Close()
		return nil, err
	}
	defer consoleEnd.Close()

	var pass fds
	args := machineArgs(o, k, accel, pass.add(initrd))
	args = append(args, channelArgs(pass.add(consoleEnd), pass.add(portEnd))...)
	args = append(args, shareArgs(guest.RootTag, "/", true)...)
	for i, dir := range o.Shares {
		args = append(args, shareArgs(shareTag(i), dir, false)...)
	}
	for i, disk := range disks {
		args = append(args, diskArgs(i, pass.add(disk))...)
	}
	q := &qemu{cmd: exec.Command(path, args...), port: port, console: console, done: make(chan struct{})}
	q.cmd.ExtraFiles = pass.files
	q.cmd.Stdout, q.cmd.Stderr = consoleEnd, consoleEnd // what it has to say itself
	q.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := q.start(); err != nil {
		_ = port.Close()
		_ = console.Close()
		return nil, fmt.Errorf("starting %s: %w", emulator, err)
	}
	return q, nil
}

// start runs the process from a thread that lives as long: the death signal is
// sent when the thread that forked ends, not the process (prctl(2)).
func (q *qemu) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := q.cmd.Start()
		started <- err
		if err == nil {
			q.err = q.cmd.Wait()
			close(q.done)
		}
	}()
	return <-started
}

// ending says how the process ended by itself, once done is closed.
func (q *qemu) ending() error {
	if q.err == nil {
		return fmt.Errorf("%s ended: the guest powered off", emulator)
	}
	return fmt.Errorf("%s ended: %w", emulator, q.err)
}

// kill ends it as a power cut does: at once, wherever it is.
func (q *qemu) kill() {
	_ = q.cmd.Process.Kill() // that it ended already is as good
	<-q.done
}

func (q *qemu) close() {
	q.kill()
	_ = q.port.Close()
	_ = q.console.Close()
}

func machineArgs(o Options, k *kernel.Kernel, accel string, initrd int) []string {
	kind := map[string]string{AccelKVM: "kvm", AccelTCG: "tcg,thread=multi"}[accel]
	cpu := map[string]string{AccelKVM: "host", AccelTCG: "max"}[accel]
	return []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-machine", "q35", "-accel", kind, "-cpu", cpu,
		"-smp", strconv.Itoa(o.CPUs), "-m", strconv.FormatInt(o.Memory>>20, 10) + "M",
		"-kernel", k.Image, "-initrd", fmt.Sprintf("/proc/self/fd/%d", initrd), "-append", cmdline,
		"-device", "virtio-rng-pci",
	}
}

func channelArgs(console, port int) []string {
	return []string{
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d", console), "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-chardev", fmt.Sprintf("socket,id=port,fd=%d", port),
		"-device", "virtserialport,chardev=port,name=" + wire.PortName,
	}
}

func shareTag(i int) string { return fmt.Sprintf("share%d", i) }

// shareArgs give a folder over 9p. Its owners and modes are the host's own;
// where this is not root, the guest sees what the user may.
func shareArgs(tag, dir string, readonly bool) []string {
	spec := fmt.Sprintf("local,id=%s,path=%s,security_model=none,multidevs=remap", tag, escape(dir))
	if readonly {
		spec += ",readonly=on"
	}
	return []string{"-fsdev", spec, "-device", fmt.Sprintf("virtio-9p-pci,fsdev=%s,mount_tag=%s", tag, tag)}
}

// diskArgs give a file as a disk. Its flushes are not passed on to this
// machine's disk: what the guest wrote is safe in this machine's page cache
// from everything but a power cut of the machine itself.
func diskArgs(i, fd int) []string {
	return []string{
		"-drive", fmt.Sprintf("file=/proc/self/fd/%d,if=none,id=disk%d,format=raw,cache=unsafe,discard=unmap,file.locking=off", fd, i),
		"-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d,serial=disk%d", i, i),
	}
}

// escape doubles commas, as QEMU's options ask.
func escape(path string) string {
	var out []byte
	for i := range len(path) {
		if path[i] == ',' {
			out = append(out, ',')
		}
		out = append(out, path[i])
	}
	return string(out)
}

// socketPair returns two connected ends; the first is for this process.
func socketPair(name string) (ours, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("a pair of sockets for the %s: %w", name, err)
	}
	if err := unix.SetNonblock(pair[0], true); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(pair[0]), name), os.NewFile(uintptr(pair[1]), name), nil
}
