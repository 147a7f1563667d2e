package supervise

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	b := backoff{}
	for i, want := range []int{0, 10, 20, 40, 80, 160, 300, 300} {
		if got := b.next(time.Second); got != time.Duration(want)*time.Second {
			t.Errorf("restart %d waits %s, want %ds", i, got, want)
		}
	}
	if got := b.next(goodRun); got != 0 {
		t.Errorf("after a good run it waits %s", got)
	}
	if got := b.next(time.Second); got != firstDelay {
		t.Errorf("after that, %s", got)
	}
}
