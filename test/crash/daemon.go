package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/test/built"
)

// patience bounds everything that the harness waits for.
const patience = 20 * time.Second

// Daemon is one of the suite's daemons, as a process that may be killed.
type Daemon struct {
	// Dir holds everything of the daemon; Root and Socket are in it.
	Dir, Root, Socket string

	bin  string
	args []string
	cmd  *exec.Cmd
	conn *grpc.ClientConn
	died chan struct{}
	log  lockedBuffer
}

// NewDaemon makes the folders of varve-NAME; its end is the test's.
func NewDaemon(t testing.TB, name string, args ...string) *Daemon {
	t.Helper()
	// The node's own /run: in memory, since a SIGKILL leaves the page cache
	// alone and a disk would only make its syncs slow; and short, because a
	// socket lies in it.
	dir, err := os.MkdirTemp("/run", "crash")
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{
		Dir: dir, Root: filepath.Join(dir, "root"), Socket: filepath.Join(dir, name+".sock"),
		bin: built.Failpoint(t, "varve-"+name),
	}
	d.args = append([]string{"--root", d.Root, "--address", d.Socket, "--config", filepath.Join(dir, "config.toml")}, args...)
	t.Cleanup(func() {
		d.kill()
		if t.Failed() {
			t.Logf("log of varve-%s:\n%s", name, d.log.String())
		}
		if err := Sweep(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// Start runs the daemon until it serves.
func (d *Daemon) Start(env ...string) error {
	d.cmd = exec.Command(d.bin, d.args...)
	d.cmd.Env = append(os.Environ(), env...)
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	if err := d.cmd.Start(); err != nil {
		return err
	}
	cmd, died := d.cmd, make(chan struct{})
	d.died = died
	go func() {
		_ = cmd.Wait()
		close(died)
	}()
	conn, err := grpc.NewClient("unix://"+d.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 2 * time.Millisecond, Multiplier: 1.5, MaxDelay: 20 * time.Millisecond}}))
	if err != nil {
		return err
	}
	d.conn = conn
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() {
		select {
		case <-died:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err == nil && answer.Status == grpc_health_v1.HealthCheckResponse_SERVING {
			return nil
		}
		select {
		case <-died:
			return fmt.Errorf("%s ended before it served: %s", d.bin, cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("%s did not serve within %s: %w", d.bin, patience, err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Conn is the connection to the daemon that runs now.
func (d *Daemon) Conn() *grpc.ClientConn { return d.conn }

// Stop ends the daemon by SIGTERM; it must exit 0.
func (d *Daemon) Stop() error {
	if d.cmd == nil {
		return nil
	}
	_ = d.conn.Close()
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.died:
	case <-time.After(patience):
		d.kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM", d.bin, patience)
	}
	state := d.cmd.ProcessState
	d.cmd = nil
	if !state.Success() {
		return fmt.Errorf("%s ended by %s", d.bin, state)
	}
	return nil
}

// WaitKilled waits for the failpoint to strike.
func (d *Daemon) WaitKilled() error {
	select {
	case <-d.died:
	case <-time.After(patience):
		return errors.New("the point was not reached a second time: nothing was killed")
	}
	_ = d.conn.Close()
	state := d.cmd.ProcessState
	d.cmd = nil
	if status := state.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		return fmt.Errorf("%s ended by %s, want SIGKILL", d.bin, state)
	}
	return nil
}

func (d *Daemon) kill() {
	if d.cmd != nil {
		_ = d.cmd.Process.Kill()
		<-d.died
		d.cmd = nil
	}
}

// Findings runs the daemon's own doctor beside it.
func (d *Daemon) Findings() (finding.List, error) {
	cmd := exec.Command(d.bin, append([]string{"doctor", "-o", "json"}, d.args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", cmd, err, stderr.String())
	}
	var list finding.List
	return list, json.Unmarshal(out, &list)
}

// NoOrphans fails on what the daemon's doctor calls an orphan or an error.
func (d *Daemon) NoOrphans() error {
	list, err := d.Findings()
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range list {
		if f.Orphan || f.Severity == finding.Error {
			errs = append(errs, fmt.Errorf("doctor: %s %s: %s", f.ID, f.Object, f.Text))
		}
	}
	return errors.Join(errs...)
}

// lockedBuffer collects the log of processes that follow each other.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
