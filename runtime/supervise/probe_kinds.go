package supervise

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/runtime/oci"
	"github.com/varve-project/varve/runtime/pod"
	"github.com/varve-project/varve/runtime/pod/manifest"
)

// maxSaid is how much of a probe's output is kept for the error.
const maxSaid = 1 << 10

// execTimeout bounds the OCI runtime's own part of an exec probe.
const execTimeout = 30 * time.Second

// probeExec runs a command in the container: exit status 0 is success. The
// command is our own child, so that one that hangs can be killed alone. The
// OCI runtime is never killed half-way: the process that it was making in the
// container would be nobody's, and while it is a zombie the container's first
// process cannot end (pid_namespaces(7)).
func (s *Supervisor) probeExec(ctx context.Context, c *corev1.Container, e *corev1.ExecAction) error {
	dir, err := os.MkdirTemp(s.paths.Bundle(c.Name), "probe-")
	if err != nil {
		return err
	}
	command := strings.Join(e.Command, " ")
	result := make(chan error, 1)
	started := make(chan int, 1)
	go func() {
		defer func() { _ = os.RemoveAll(dir) }()
		result <- s.execIn(context.WithoutCancel(ctx), c, dir, e.Command, started)
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	s.leaving.Add(1)
	go func() { // ends the command once it can be named
		defer s.leaving.Done()
		select {
		case pid := <-started:
			if p, err := pod.FindProcess(pid); err == nil {
				_ = p.Signal(unix.SIGKILL)
			}
			<-result //nolint:errcheck // the probe has its verdict already
		case <-result: //nolint:errcheck // likewise
		}
	}()
	return fmt.Errorf("%s: no end within the probe's timeout", command)
}

// execIn runs a command to its end and tells its pid once it has one.
func (s *Supervisor) execIn(ctx context.Context, c *corev1.Container, dir string, command []string, started chan<- int) error {
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	said, err := os.OpenFile(filepath.Join(dir, "output"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = said.Close() }()
	pid, err := s.runtime.Exec(ctx, s.rec.ContainerID(c.Name), dir, command, oci.Stdio{Out: said, Err: said})
	if err != nil {
		return err
	}
	started <- pid
	if x := waitChild(pid); x.code == nil || *x.code != 0 {
		return fmt.Errorf("%s: %s%s", strings.Join(command, " "), status(x), colon(tail(said)))
	}
	return nil
}

func status(x exit) string {
	if x.code == nil {
		return "exit status lost"
	}
	return "exit status " + strconv.Itoa(*x.code)
}

func tail(f *os.File) string {
	buf := make([]byte, maxSaid)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	return strings.TrimSpace(string(buf[:n]))
}

// probeHTTP gets a URL of the pod: any status from 200 to 399 is success.
// Redirects to another host are not followed, and certificates not checked,
// as with kubelet.
func probeHTTP(ctx context.Context, c *corev1.Container, h *corev1.HTTPGetAction, ip string) error {
	port, _ := manifest.PortNumber(h.Port, c)
	host := h.Host
	if host == "" {
		host = ip
	}
	u, err := url.Parse(h.Path)
	if err != nil {
		return fmt.Errorf("path %q: %w", h.Path, err)
	}
	u.Scheme, u.Host = strings.ToLower(string(h.Scheme)), net.JoinHostPort(host, strconv.Itoa(port))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "varve-probe")
	req.Header.Set("Accept", "*/*")
	for _, header := range h.HTTPHeaders {
		if strings.EqualFold(header.Name, "Host") {
			req.Host = header.Value
		}
		req.Header.Add(header.Name, header.Value)
	}
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // kubelet does not check either: probes go to an address, not a name
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Hostname() != via[0].URL.Hostname() || len(via) >= 10 {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(res.Body, maxSaid))
	if res.StatusCode >= 200 && res.StatusCode < 400 {
		return nil
	}
	return fmt.Errorf("GET %s: %s%s", u, res.Status, colon(strings.TrimSpace(string(said))))
}

// probeTCP connects: a connection is success.
func probeTCP(ctx context.Context, c *corev1.Container, t *corev1.TCPSocketAction, ip string) error {
	port, _ := manifest.PortNumber(t.Port, c)
	host := t.Host
	if host == "" {
		host = ip
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return conn.Close()
}
