package story

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/varve-project/varve/test/leak"
)

// why shows what a person asks when something is slow or broken.
func (s *story) why(ctx context.Context) error {
	if _, err := s.run(ctx, "why", "web"); err != nil {
		return err
	}
	return s.doctor(ctx)
}

// remove takes everything away by the command line.
func (s *story) remove(ctx context.Context) error {
	for _, args := range [][]string{
		{"pod", "rm", "-f", "--all"},
		{"volume", "rm", "--snapshot", "data-1"},
		{"volume", "rm", "data", "restored"},
		{"image", "rm", "busybox", "debian:varve"},
		{"pod", "ls"},
	} {
		if _, err := s.run(ctx, args...); err != nil {
			return err
		}
	}
	if err := s.doctor(ctx); err != nil {
		return err
	}
	_, err := s.run(ctx, "down")
	return err
}

// settleTime is how long the kernel may take for what it does behind a call.
const settleTime = 10 * time.Second

// count compares the kernel with what it was before the first command.
func (s *story) count(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	items, err := leak.Settle(ctx, s.before, s.scope)
	if err != nil {
		return err
	}
	after, err := leak.Take(s.scope)
	if err != nil {
		return err
	}
	for _, item := range items {
		s.say("leaked %s", item)
	}
	fmt.Fprintf(s.out, "\n%s", leak.Table(s.before, after))
	if len(items) > 0 {
		return fmt.Errorf("%d things are left in the kernel", len(items))
	}
	return nil
}

// table prints what was told and how long each step took.
func (s *story) table() {
	fmt.Fprintf(s.out, "\n%-4s%-66s%9s  %s\n", "", "STEP", "TOOK", "RESULT")
	var all time.Duration
	for i, step := range s.steps {
		result := "done"
		if step.err != nil {
			result = "FAILED"
		}
		all += step.took
		fmt.Fprintf(s.out, "%2d. %-66s%7.1f s  %s\n", i+1, step.title, step.took.Seconds(), result)
	}
	fmt.Fprintf(s.out, "%-4s%-66s%7.1f s\n", "", "in all", all.Seconds())
}

// close removes by the command line, as far as that still works, what a story
// that broke off has left, after showing what daemons and supervisors wrote.
// Sweep does the rest.
func (s *story) close() {
	s.logs()
	s.say("cleaning up")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, args := range [][]string{{"pod", "rm", "-f", "--all"}, {"down"}} {
		if _, err := s.run(ctx, args...); err != nil {
			s.say("%v", err)
		}
	}
}

// logs shows the ends of the logs that daemons and supervisors wrote.
func (s *story) logs() {
	var files []string
	for _, pattern := range []string{state + "/*.log", s.root + "/runtime/pods/*/supervisor.log"} {
		found, err := filepath.Glob(pattern)
		if err == nil {
			files = append(files, found...)
		}
	}
	const enough = 2000
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && len(text) > 0 {
			s.say("--- %s", file)
			s.show(string(text[max(0, len(text)-enough):]))
		}
	}
}
