package leak

import (
	"context"
	"time"
)

// TB is the part of testing.TB that Check needs; this package is linked into
// the demo, which is no test.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
}

// settleTime is how long Check waits for the kernel's deferred work.
const settleTime = 10 * time.Second

// Check takes a snapshot now and fails the test, naming each thing, if the
// test leaves something behind. Call it before anything that the test cleans
// up by t.Cleanup, which runs last in, first out, and on a locked thread if
// the test enters namespaces.
func Check(t TB, scope Scope) {
	t.Helper()
	before, err := Take(scope)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), settleTime)
		defer cancel()
		items, err := Settle(ctx, before, scope)
		if err != nil {
			t.Fatalf("%v", err)
		}
		for _, item := range items {
			t.Errorf("leaked %s", item)
		}
	})
}
