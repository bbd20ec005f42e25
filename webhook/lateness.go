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
	// turned away with HTTP 503: kube-apiserver then asks again, so that a burst costs
	// nothing but time.
	maxLateness = 500 * time.Millisecond
	// maxConnectionLateness is the same for new connections, which are reset, and that
	// request is not made again. It waits for a processor some six times (accepted,
	// two rounds of the handshake, header, body), so that with more than this it
	// would not be answered within the usual 5 s anyway.
	maxConnectionLateness = time.Second
)

// lateness is how long goroutines that could run wait for a processor. It is what
// grows when there is more to do than can be done: the number of requests that are
// being decided on stays small, since each is done in one go, while those behind wait
// where nothing counts them. Answering all of them too late would help nobody.
//
// The zero value is never too late.
type lateness struct {
	// last is when the measuring goroutine ran last, and late by how much it was late
	// then, in nanoseconds. A time.Time goes by a clock that nobody sets.
	last atomic.Pointer[time.Time]
	late atomic.Int64
}

// measure runs until ctx is done.
func (l *lateness) measure(ctx context.Context) {
	defer l.last.Store(nil)
	for ctx.Err() == nil {
		started := time.Now()
		l.last.Store(&started)
		select {
		case <-ctx.Done():
		case <-time.After(beat):
			l.late.Store(int64(time.Since(started) - beat))
		}
	}
}

// exceeds is an error while goroutines wait longer than limit.
func (l *lateness) exceeds(limit time.Duration, now time.Time) error {
	last := l.last.Load()
	if last == nil {
		return nil
	}
	// Whoever asks may run before the measuring goroutine, which waits as well.
	late := max(time.Duration(l.late.Load()), now.Sub(*last)-beat)
	if late <= limit {
		return nil
	}
	return fmt.Errorf("work waits %s for a processor", late.Round(time.Millisecond))
}
