package service_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// patience is how long anything that must happen may take.
const patience = 10 * time.Second

// process is a running daemon under test.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	out     output
	address string
	ended   chan struct{}
}

// output collects stdout and stderr while the process writes them.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), beDaemon+"=1")
	return cmd
}

// once runs a sub-command to its end.
func once(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// A daemon that serves where it should refuse would never end.
	stuck := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// folder is a place for roots and sockets whose path is short enough.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "varve-service-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// launch starts a daemon on DIR/root and DIR/s.sock.
func launch(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	return launchCommand(t, dir, command(append([]string{
		"--root", filepath.Join(dir, "root"), "--address", filepath.Join(dir, "s.sock"),
	}, args...)...))
}

func launchCommand(t *testing.T, dir string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, address: filepath.Join(dir, "s.sock"), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("output of the daemon:\n%s", p.out.String())
		}
	})
	return p
}

// ready waits until the health service says that the daemon serves.
func (p *process) ready() *process {
	p.t.Helper()
	p.eventually("the daemon serves", func() bool {
		select {
		case <-p.ended:
			p.t.Fatalf("the daemon ended: %s", p.out.String())
		default:
		}
		conn := dial(p.t, p.address)
		defer func() { _ = conn.Close() }()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		got, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "varve.test.Test"})
		return err == nil && got.Status == grpc_health_v1.HealthCheckResponse_SERVING
	})
	return p
}

func (p *process) eventually(what string, ok func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (p *process) signal(s syscall.Signal) *process {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	return p
}

// wait returns the exit code, -1 when a signal ended the process.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatal("the daemon does not end")
		return 0
	}
}

func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// call calls a method of the test service, once the server has it.
func (p *process) call(name string, d time.Duration) error {
	conn := dial(p.t, p.address)
	defer func() { _ = conn.Close() }()
	return conn.Invoke(context.Background(), "/varve.test.Test/"+name, durationpb.New(d), &emptypb.Empty{})
}

// begin calls a method in the background and returns when the handler runs.
func (p *process) begin(name string, d time.Duration) <-chan error {
	p.t.Helper()
	result := make(chan error, 1)
	line := "begun " + name
	before := strings.Count(p.out.String(), line)
	go func() { result <- p.call(name, d) }()
	p.eventually(name+" is under way", func() bool { return strings.Count(p.out.String(), line) > before })
	return result
}

func mustExist(t *testing.T, path string, want bool) {
	t.Helper()
	_, err := os.Lstat(path)
	if got := err == nil; got != want {
		t.Errorf("%s exists: %v, want %v", path, got, want)
	}
}
