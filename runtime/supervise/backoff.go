package supervise

import "time"

// kubelet's numbers: the first restart is at once, the second after 10 s,
// then twice as long each time up to 5 min; a run of 10 min forgets them.
const (
	firstDelay = 10 * time.Second
	maxDelay   = 5 * time.Minute
	goodRun    = 10 * time.Minute
)

// backoff counts the restarts of one container.
type backoff struct{ delay time.Duration }

// next is how long to wait before the next start, after a run that took so
// long.
func (b *backoff) next(ran time.Duration) time.Duration {
	if ran >= goodRun {
		b.delay = 0
	}
	now := b.delay
	b.delay = min(max(2*b.delay, firstDelay), maxDelay)
	return now
}
