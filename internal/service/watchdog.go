package service

import (
	"context"
	"time"

	"github.com/containerd/log"
	systemd "github.com/coreos/go-systemd/v22/daemon"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// startWatchdog feeds systemd's watchdog, where the unit has WatchdogSec=. It
// asks the own health service through the socket each time: a process whose
// server no longer answers is not fed, and systemd starts it anew.
func startWatchdog(address string) (stop func()) {
	interval, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		log.L.WithError(err).Warn("systemd's watchdog is not fed")
	}
	if err != nil || interval == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		feed(ctx, address, interval/2)
	}()
	return func() {
		cancel()
		<-ended
	}
}

func feed(ctx context.Context, address string, every time.Duration) {
	conn, err := grpc.NewClient("unix:"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.L.WithError(err).Warn("systemd's watchdog is not fed")
		return
	}
	defer func() { _ = conn.Close() }()
	client := grpc_health_v1.NewHealthClient(conn)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		call, cancel := context.WithTimeout(ctx, every)
		_, err := client.Check(call, &grpc_health_v1.HealthCheckRequest{})
		cancel()
		switch {
		case err == nil:
			notify(systemd.SdNotifyWatchdog)
		case ctx.Err() == nil:
			log.L.WithError(err).Warn("the own health service does not answer; systemd's watchdog is not fed")
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
