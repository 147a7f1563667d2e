package attach_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// mutating are the system calls by which the plug-in changes anything that
// outlives it.
var mutating = map[uint64]bool{
	unix.SYS_WRITE: true, unix.SYS_PWRITE64: true, unix.SYS_SENDTO: true, unix.SYS_SENDMSG: true,
	unix.SYS_RENAMEAT: true, unix.SYS_RENAMEAT2: true, unix.SYS_UNLINKAT: true, unix.SYS_MKDIRAT: true,
	unix.SYS_FSYNC: true, unix.SYS_FTRUNCATE: true, unix.SYS_FCHMOD: true, unix.SYS_FLOCK: true,
}

// changes tells whether a system call that is about to be made is one of them.
func changes(regs *unix.PtraceRegs) bool {
	create := regs.Orig_rax == unix.SYS_OPENAT && regs.Rdx&unix.O_CREAT != 0
	return create || mutating[regs.Orig_rax]
}

// trace runs the plug-in and kills it when it is about to make its nth changing
// system call, counted over all of its threads; 0 lets it run. It returns how
// many it made, and whether it was killed.
func trace(cmd *exec.Cmd, nth int) (made int, killed bool, err error) {
	runtime.LockOSThread() // one thread traces
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return 0, false, err
	}
	leader := cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(leader, &status, unix.WALL, nil); err != nil {
		return 0, false, err
	}
	const options = unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(leader, options); err != nil {
		return 0, false, err
	}
	if err := unix.PtraceSyscall(leader, 0); err != nil {
		return 0, false, err
	}
	entering := map[int]bool{}
	for {
		pid, err := unix.Wait4(-leader, &status, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return made, killed, fmt.Errorf("wait: %w", err)
		}
		if status.Exited() || status.Signaled() {
			if pid != leader {
				continue
			}
			if status.Exited() && status.ExitStatus() != 0 {
				err = fmt.Errorf("exit %d", status.ExitStatus())
			}
			return made, status.Signaled(), err
		}
		signal := 0
		switch s := status.StopSignal(); {
		case s == unix.SIGTRAP|0x80:
			entering[pid] = !entering[pid]
			var regs unix.PtraceRegs
			if entering[pid] && unix.PtraceGetRegs(pid, &regs) == nil && changes(&regs) {
				if made++; made == nth {
					_ = unix.Kill(leader, unix.SIGKILL)
					continue
				}
			}
		case s != unix.SIGTRAP && s != unix.SIGSTOP:
			signal = int(s)
		}
		// A thread that died meanwhile is met again by the wait.
		_ = unix.PtraceSyscall(pid, signal)
	}
}

// traced is call under trace.
func (n *network) traced(command, id, netns string, extra map[string]any, nth int) (made int, killed bool, err error) {
	n.t.Helper()
	conf := map[string]any{"cniVersion": "1.1.0", "name": n.name}
	for _, more := range []map[string]any{n.conf, extra} {
		for k, v := range more {
			conf[k] = v
		}
	}
	data, err := json.Marshal(conf)
	must(n.t, err)
	file := filepath.Join(n.t.TempDir(), "stdin")
	must(n.t, os.WriteFile(file, data, 0o600))
	stdin, err := os.Open(file)
	must(n.t, err)
	defer stdin.Close()
	cmd := exec.Command(binary)
	cmd.Env = []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + id, "CNI_NETNS=" + netns, "CNI_IFNAME=eth0", "CNI_PATH=" + pluginDir}
	cmd.Stdin = stdin
	out, err := os.CreateTemp(n.t.TempDir(), "out")
	must(n.t, err)
	defer out.Close()
	cmd.Stdout = out
	made, killed, err = trace(cmd, nth)
	if err != nil {
		_, _ = out.Seek(0, io.SeekStart)
		said, _ := io.ReadAll(out)
		err = fmt.Errorf("%s: %w: %s", command, err, said)
	}
	return made, killed, err
}

// sampled are some of 1 to count, by a fixed seed, in their order; the first
// and the last are among them.
func sampled(count, most int) []int {
	random := rand.New(rand.NewPCG(4, 4))
	chosen := map[int]bool{1: true, count: true}
	for _, i := range random.Perm(count) {
		if len(chosen) < most || os.Getenv("VARVE_CRASH_FULL") != "" {
			chosen[i+1] = true
		}
	}
	var out []int
	for i := 1; i <= count; i++ {
		if chosen[i] {
			out = append(out, i)
		}
	}
	return out
}

// Killed before any system call that changes something, in ADD, DEL or GC, the
// next call of the runtime's leaves nothing of the pod and all of the other.
func TestKilledAtAnySystemCall(t *testing.T) {
	n := newNetwork(t, nil)
	other := n.pod("other", nil)
	extra := map[string]any{"runtimeConfig": full()}
	gc := map[string]any{"cni.dev/valid-attachments": []any{map[string]any{"containerID": "other", "ifname": "eth0"}}}
	for _, c := range []struct {
		command string
		extra   map[string]any
		added   bool
	}{{"ADD", extra, false}, {"DEL", extra, true}, {"GC", gc, true}} {
		t.Run(c.command, func(t *testing.T) {
			n.t = t
			victim := func() *attachment {
				p := n.container("p", full())
				if c.added {
					n.works("ADD", "p", p.ns.path)
				}
				return p
			}
			p := victim()
			id, path := "p", p.ns.path
			if c.command == "GC" {
				id, path = "", ""
			}
			count, _, err := n.traced(c.command, id, path, c.extra, 0)
			must(t, err)
			n.works("DEL", "p", p.ns.path)
			if count < 15 {
				t.Fatalf("only %d changing system calls", count)
			}
			for i, nth := range sampled(count, 14) {
				p := victim()
				if id != "" {
					path = p.ns.path
				}
				_, killed, err := n.traced(c.command, id, path, c.extra, nth)
				if !killed && nth < count-2 { // threads' order varies by a few
					t.Fatalf("not killed at %d of %d: %v", nth, count, err)
				}
				repair := "GC"
				if i%2 == 0 {
					repair = "DEL"
					n.works("DEL", "p", p.ns.path)
				} else if out, err := n.call("GC", "", "", gc); err != nil {
					t.Errorf("GC: %v: %s", err, out)
				}
				n.wantOnly("other", repair, fmt.Sprintf("%s killed at system call %d of %d, then %s", c.command, nth, count, repair))
				must(t, other.check())
				p.ns.drop()
			}
		})
	}
	n.t = t
	must(t, other.del())
}
