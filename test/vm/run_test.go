package vm_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/varve-project/varve/test/vm"
)

func TestExitStatus(t *testing.T) {
	m := machine(t)
	for script, want := range map[string]vm.Exit{
		"exit 0": {}, "exit 7": {Code: 7}, "exit 125": {Code: 125},
		"kill -KILL $$": {Code: 137, Signal: syscall.SIGKILL},
	} {
		exit, err := m.Run(within(t, limit), vm.Cmd{Args: []string{"sh", "-c", script}})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, script, exit, want)
	}
	_, err := m.Run(within(t, limit), vm.Cmd{Args: []string{"no-such-program"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("a program that is not there: %v", err)
	}
	_, err = m.Run(within(t, limit), vm.Cmd{Args: []string{"/etc/passwd"}})
	if err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a program that is none: %v", err)
	}
}

// TestStreams sends every byte value through all three streams, more of them
// than any buffer on the way holds.
func TestStreams(t *testing.T) {
	m := machine(t)
	random := rand.NewChaCha8([32]byte{1})
	input := make([]byte, 3<<20)
	if _, err := random.Read(input); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	exit, err := m.Run(within(t, limit), vm.Cmd{
		Args: []string{"sh", "-c", "tee /dev/stderr"}, Stdin: bytes.NewReader(input), Stdout: &out, Stderr: &errs,
	})
	if err != nil || exit.Code != 0 {
		t.Fatal(exit, err)
	}
	if !bytes.Equal(out.Bytes(), input) || !bytes.Equal(errs.Bytes(), input) {
		t.Errorf("sent %d bytes; standard output has %d, standard error %d, or others", len(input), out.Len(), errs.Len())
	}
}

// TestSlowReader: a host that reads late loses nothing of a command that ended
// long before, and a daemon that holds the pipes keeps nobody.
func TestSlowReader(t *testing.T) {
	m := machine(t)
	var total int
	slow := writerFunc(func(p []byte) {
		if total == 0 {
			time.Sleep(8 * time.Second)
		}
		total += len(p)
	})
	exit, err := m.Run(within(t, limit), vm.Cmd{Args: []string{"sh", "-c", "sleep 1000 & head -c 200000 /dev/zero; echo $! >/run/daemon"}, Stdout: slow})
	if err != nil || exit.Code != 0 {
		t.Fatal(exit, err)
	}
	equal(t, "bytes", total, 200000)
	sh(t, m, "kill $(cat /run/daemon)")
}

func TestStdinNotRead(t *testing.T) {
	m := machine(t)
	reader, writer := io.Pipe()
	defer func() { _ = writer.Close() }()
	go func() { _, _ = writer.Write(make([]byte, 1<<20)) }()
	exit, err := m.Run(within(t, limit), vm.Cmd{Args: []string{"sh", "-c", "exit 4"}, Stdin: reader})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "exit", exit.Code, 4)
	equal(t, "an empty input", sh(t, m, "cat | wc -c"), "0")
}

// TestSideBySide runs commands at once, each with input and output of its own,
// one of which never reads its input.
func TestSideBySide(t *testing.T) {
	m := machine(t)
	var all sync.WaitGroup
	stuck := make(chan syscall.Signal, 1)
	all.Go(func() {
		exit, err := m.Run(within(t, limit), vm.Cmd{
			Args: []string{"sleep", "1000"}, Stdin: bytes.NewReader(make([]byte, 1<<20)), Signals: stuck,
		})
		if err != nil || exit.Signal != syscall.SIGTERM {
			t.Errorf("the one that was signalled: %v, %v", exit, err)
		}
	})
	var others sync.WaitGroup
	for i := range 4 {
		others.Go(func() {
			want := strings.Repeat(fmt.Sprintln(i), 30000)
			var out bytes.Buffer
			exit, err := m.Run(within(t, limit), vm.Cmd{Args: []string{"cat"}, Stdin: strings.NewReader(want), Stdout: &out})
			if err != nil || exit.Code != 0 || out.String() != want {
				t.Errorf("command %d: %v, %v, %d bytes of %d", i, exit, err, out.Len(), len(want))
			}
		})
	}
	others.Wait()
	stuck <- syscall.SIGTERM
	all.Wait()
}

func TestCommandEnvironment(t *testing.T) {
	m := machine(t)
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("VARVE_VM_TEST", "a b\n'c")
	equal(t, "the working directory", sh(t, m, "pwd"), dir)
	equal(t, "a variable", sh(t, m, `printf %s "$VARVE_VM_TEST"`), "a b\n'c")
	var out bytes.Buffer
	_, err = m.Run(within(t, limit), vm.Cmd{Args: []string{"sh", "-c", "pwd; env"}, Dir: "/etc", Env: []string{"PATH=/bin:/usr/bin", "A=1"}, Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/etc\n", "A=1\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %q", want, out.String())
		}
	}
	if strings.Contains(out.String(), "VARVE_VM_TEST") {
		t.Error("an environment of its own has the caller's variable")
	}
}

func TestShare(t *testing.T) {
	m := machine(t)
	if err := os.WriteFile(filepath.Join(share, "in"), []byte("from outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	equal(t, "read", sh(t, m, "cat "+share+"/in"), "from outside")
	sh(t, m, "printf 'from inside' >"+share+"/out; mkdir "+share+"/dir; chmod 0640 "+share+"/out")
	text, err := os.ReadFile(filepath.Join(share, "out"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "written", string(text), "from inside")
	info, err := os.Stat(filepath.Join(share, "out"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "its mode", info.Mode().Perm(), 0o640)
	sh(t, m, "rm -r "+share+"/dir")
	if _, err := os.Stat(filepath.Join(share, "dir")); err == nil {
		t.Error("what was removed inside is there outside")
	}
}

// catCommand is cat, with what it prints as messages.
func catCommand(in io.Reader, out chan<- string) vm.Cmd {
	return vm.Cmd{Args: []string{"cat"}, Stdin: in, Stdout: writerFunc(func(p []byte) { out <- string(p) })}
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
