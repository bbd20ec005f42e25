package webhook

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// beat is how often lateness is measured.
	beat = 20 * time.Millisecond
	// maxLateness is how late a goroutine may get a processor before requests are
	// turned away. A request with a new connection waits for one half a dozen times
	// (accepted, two rounds of the handshake, header, body), so that with more than this it
	// would hardly be answered within the usual 5 s.
	maxLateness = 250 * time.Millisecond
)

// lateness is how long goroutines that could run wait for a processor. It is what
// grows when there is more to do than can be done: the number of requests that are
// being decided on stays small, since each is done in one go, while those behind wait
// where nothing counts them. Answering all of them too late would help nobody.
//
// The zero value is never too late.
type lateness struct {
	// last is when the measuring goroutine ran last, and late by how much it was late
	// then, both in nanoseconds.
	last, late atomic.Int64
}

// measure runs until ctx is done.
func (l *lateness) measure(ctx context.Context) {
	defer l.last.Store(0)
	for ctx.Err() == nil {
		started := time.Now()
		l.last.Store(started.UnixNano())
		select {
		case <-ctx.Done():
		case <-time.After(beat):
			l.late.Store(int64(time.Since(started) - beat))
		}
	}
}

// tooMuch is an error while goroutines wait longer than maxLateness.
func (l *lateness) tooMuch(now time.Time) error {
	last := l.last.Load()
	if last == 0 {
		return nil
	}
	// Whoever asks may run before the measuring goroutine, which waits as well.
	late := max(time.Duration(l.late.Load()), time.Duration(now.UnixNano()-last)-beat)
	if late <= maxLateness {
		return nil
	}
	return fmt.Errorf("work waits %s for a processor", late.Round(time.Millisecond))
}
