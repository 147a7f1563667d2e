package story

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long something may take on a slow machine that is not
// measured here.
const patience = 60 * time.Second

// killSupervisor kills the web pod's supervisor and shows that its containers
// are the same processes as before and serve, and that the next command puts
// another supervisor in charge.
func (s *story) killSupervisor(ctx context.Context) error {
	web, err := s.pod(ctx, "web")
	if err != nil {
		return err
	}
	before, err := web.pids()
	if err != nil {
		return err
	}
	if err := s.kill(web.Supervisor, "the web pod's supervisor"); err != nil {
		return err
	}
	s.say("nobody supervises the pod now")
	if err := s.serves(web); err != nil {
		return err
	}
	if _, err := s.run(ctx, "pod", "ls"); err != nil {
		return err
	}
	old := web.Supervisor
	err = until(ctx, patience, func() error {
		if web, err = s.pod(ctx, "web"); err == nil && web.Supervisor == 0 {
			err = errors.New("nobody adopted the pod")
		}
		return err
	})
	if err != nil {
		return err
	}
	after, err := web.pids()
	if err != nil {
		return err
	}
	if !maps.Equal(before, after) {
		return fmt.Errorf("the containers were the processes %v and are %v", before, after)
	}
	s.say("the command put another supervisor in charge: %d was, %d is; containers are %v as before", old, web.Supervisor, after)
	if err := s.serves(web); err != nil {
		return err
	}
	return s.killContainer(ctx, after["debian"])
}

// killContainer shows that whoever adopted the web pod looks after it.
func (s *story) killContainer(ctx context.Context, pid int) error {
	if err := s.kill(pid, "the debian container"); err != nil {
		return err
	}
	err := until(ctx, patience, func() error {
		web, err := s.pod(ctx, "web")
		if err != nil {
			return err
		}
		pids, err := web.pids()
		if err == nil && (pids["debian"] == 0 || pids["debian"] == pid) {
			err = fmt.Errorf("nobody started the container again: the processes are %v", pids)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.say("it is started again:")
	_, err = s.run(ctx, "pod", "ls")
	return err
}

// killDaemon kills the snapshotter, shows that pods do without, starts it
// again and runs another pod on it.
func (s *story) killDaemon(ctx context.Context) error {
	daemon := func(args []string) bool { return filepath.Base(args[0]) == s.snapshotter() }
	web, err := s.pod(ctx, "web")
	if err != nil {
		return err
	}
	pid, err := find(daemon)
	if err != nil {
		return fmt.Errorf("find %s: %w", s.snapshotter(), err)
	}
	if err := s.kill(pid, s.snapshotter()); err != nil {
		return err
	}
	if err := s.serves(web); err != nil {
		return err
	}
	if _, err := s.run(ctx, "up"); err != nil {
		return err
	}
	if pid, err = find(daemon); err != nil {
		return fmt.Errorf("find %s: %w", s.snapshotter(), err)
	}
	s.say("it is process %d now, and serves", pid)
	if err := s.start(ctx, "after"); err != nil {
		return err
	}
	return s.serves(web)
}

// serves shows that the web pod answers.
func (s *story) serves(web pod) error {
	four, six, err := web.ips()
	if err != nil {
		return err
	}
	for _, address := range []string{
		net.JoinHostPort(four, "8080"), net.JoinHostPort(six, "8080"), net.JoinHostPort("127.0.0.1", hostPort),
	} {
		if err := s.get("hello from the volume", address); err != nil {
			return err
		}
	}
	return nil
}

// kill sends SIGKILL and waits for the end.
func (s *story) kill(pid int, what string) error {
	if pid <= 1 {
		return fmt.Errorf("kill %s: it has no process", what)
	}
	s.say("kill -9 %d   (%s)", pid, what)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", what, err)
	}
	for start := time.Now(); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > patience {
			return fmt.Errorf("%s, process %d, does not end", what, pid)
		}
	}
	return nil
}

// find looks in the node's own /proc for the one process that matches.
func find(match func(args []string) bool) (int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	var pids []int
	for _, file := range files {
		text, err := os.ReadFile(file)
		args := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
		if err != nil || args[0] == "" || !match(args) {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(file, "/")[2])
		if err != nil {
			return 0, err
		}
		pids = append(pids, pid)
	}
	if len(pids) != 1 {
		return 0, fmt.Errorf("%d processes match, want 1", len(pids))
	}
	return pids[0], nil
}
