package service

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/containerd/log"
)

// signals turns the process's signals into one closed channel.
type signals struct {
	// stop is closed at the first SIGTERM, SIGINT or SIGHUP.
	stop chan struct{}
	once sync.Once
}

// catchSignals starts to listen. The first signal asks for a drain, the
// second ends the process at once, as a person at a terminal expects.
func catchSignals() *signals {
	s := &signals{stop: make(chan struct{})}
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	// Without this a log reader that goes away (journald restarts, a pipe
	// closes) would kill the daemon in the middle of a call. SIGPIPE is
	// caught rather than ignored, since children inherit what is ignored.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		<-stop
		s.once.Do(func() { close(s.stop) })
		again := <-stop
		log.L.Errorf("%v while draining: ends now; the next start repairs what is half done", again)
		os.Exit(exitFailed) //nolint:forbidigo // asked for twice: nothing may hold it up any more
	}()
	return s
}

func (s *signals) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}
