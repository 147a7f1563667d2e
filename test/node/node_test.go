package node_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/varve-project/varve/test/node"
)

// The test binary is its own node: it starts itself with this set.
const actVariable = "VARVE_TEST_NODE_ACT"

func TestMain(m *testing.M) {
	act, ok := acts[os.Getenv(actVariable)]
	if !ok {
		os.Exit(m.Run())
	}
	os.Exit(node.Main("varve-test", act))
}

var acts = map[string]func(context.Context) error{
	"describe": describe,
	"fail":     func(context.Context) error { return fmt.Errorf("on purpose") },
	"wait": func(ctx context.Context) error {
		fmt.Println("waiting")
		<-ctx.Done()
		fmt.Println("cleaned up")
		return ctx.Err()
	},
	"orphan": func(context.Context) error { return exec.Command("sh", "-c", "sleep 300 & exit 0").Run() },
}

func describe(context.Context) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	links, err := net.Interfaces()
	if err != nil {
		return err
	}
	_, err = os.Stat("/run/mark")
	fmt.Printf("host %s, parent %d, links %d %s, mark %v\n", name, os.Getppid(), len(links), links[0].Flags&net.FlagUp, err == nil)
	return os.WriteFile("/run/mark", nil, 0o600)
}

func run(t *testing.T, act string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), actVariable+"="+act)
	return cmd
}

func TestANodeOfItsOwn(t *testing.T) {
	for range 2 { // the second sees nothing of the first
		out, err := run(t, "describe").CombinedOutput()
		if err != nil || string(out) != "host varve-test, parent 1, links 1 up, mark false\n" {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if _, err := os.Stat("/run/mark"); err == nil {
		t.Error("the machine's /run was written to")
	}
	if name, _ := os.Hostname(); name == "varve-test" {
		t.Error("the machine was renamed")
	}
}

func TestAnErrorIsPrintedAndGivesOne(t *testing.T) {
	cmd := run(t, "fail")
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || string(out) != "error: on purpose\n" {
		t.Errorf("exit %d: %s", cmd.ProcessState.ExitCode(), out)
	}
}

func TestSIGTERMLetsTheProgramCleanUp(t *testing.T) {
	cmd := run(t, "wait")
	var out bytes.Buffer
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd.Stdout = write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	buffer := make([]byte, len("waiting\n"))
	if _, err := read.Read(buffer); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := out.ReadFrom(read); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(out.String(), "cleaned up") {
		t.Errorf("exit %d: %s", cmd.ProcessState.ExitCode(), out.String())
	}
}

// The pipe that the orphan inherits closes only when it ends.
func TestNothingOutlivesTheProgram(t *testing.T) {
	cmd := run(t, "orphan")
	cmd.WaitDelay = 0
	done := make(chan error, 1)
	go func() {
		_, err := cmd.CombinedOutput()
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(60 * time.Second):
		t.Error("the orphan still holds the output")
	}
}
