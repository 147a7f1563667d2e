package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/log"
	systemd "github.com/coreos/go-systemd/v22/daemon"
	"google.golang.org/grpc"

	"github.com/varve-project/varve/internal/version"
)

// daemon is one serving process, whatever the type of its configuration.
type daemon struct {
	name    string
	common  *Common
	options []grpc.ServerOption
	open    func(context.Context, *grpc.Server) (Service, error)
}

// run serves until it is told to stop. Everything that it took is given back
// on every way out, in the opposite order.
func (d *daemon) run() (err error) {
	collectLess()
	signals := catchSignals()
	root, err := lockRoot(d.common.Root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Release()) }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	socket, err := listen(ctx, d.common)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, socket.release()) }()

	s := newServer(d.options)
	if d.common.MetricsAddress != "" {
		stop, err := s.metrics.serve(ctx, d.common.MetricsAddress, s.health)
		if err != nil {
			return errors.Join(err, socket.Close())
		}
		defer stop()
	}
	service, err := d.start(ctx, cancel, s, signals)
	if err != nil || service == nil {
		return errors.Join(err, socket.Close())
	}
	err = d.serve(s, socket, signals)
	cancel()
	return errors.Join(err, d.close(service))
}

// start opens the daemon's service. It returns nil, nil when it was told to
// stop meanwhile and the service gave up because of that.
func (d *daemon) start(ctx context.Context, cancel func(), s *server, signals *signals) (Service, error) {
	opened := make(chan struct{})
	go func() {
		select {
		case <-signals.stop:
			cancel()
		case <-opened:
		}
	}()
	service, err := d.open(ctx, s.grpc)
	close(opened)
	if err != nil {
		if signals.stopping() && errors.Is(err, context.Canceled) {
			return nil, nil
		}
		return nil, err
	}
	if err := s.metrics.add(service); err != nil {
		return nil, errors.Join(err, d.close(service))
	}
	return service, nil
}

// serve answers calls until it is told to stop, and drains.
func (d *daemon) serve(s *server, socket *socket, signals *signals) error {
	served := make(chan error, 1)
	s.health.serving(s.grpc)
	go func() { served <- s.grpc.Serve(socket) }()
	notify(systemd.SdNotifyReady)
	log.L.WithFields(log.Fields{
		"address": d.common.Address, "root": d.common.Root, "version": version.Get().Version,
	}).Infof("%s serves", binary(d.name))
	stopWatchdog := startWatchdog(d.common.Address)
	select {
	case err := <-served:
		stopWatchdog()
		return fmt.Errorf("socket %s: %w", d.common.Address, err)
	case <-signals.stop:
	}
	// systemd stops counting at STOPPING=1, and the drain would refuse us.
	stopWatchdog()
	notify(systemd.SdNotifyStopping)
	log.L.Infof("%s stops; calls under way: %d", binary(d.name), s.calls.underWay())
	return s.drain(time.Duration(d.common.DrainTimeout))
}

// close bounds the service's Close by the drain timeout: what hangs there
// must not keep the process alive for ever.
func (d *daemon) close(service Service) error {
	closed := make(chan error, 1)
	go func() { closed <- service.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(time.Duration(d.common.DrainTimeout)):
		return fmt.Errorf("stop: closing took longer than drain_timeout = %q; the next start repairs what is half done", d.common.DrainTimeout)
	}
}

// notify tells systemd about the state. A failure is worth a line in the log
// and no more: without systemd the daemon works as well.
func notify(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		log.L.WithError(err).Warnf("sd_notify %s failed", state)
	}
}
