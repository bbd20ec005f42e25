package webhook

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/pillion-mesh/pillion/injector"
)

// maxPanicSites is for how many places in the code a panic's stack is logged.
const maxPanicSites = 32

// panicSite is where a panic came from: the innermost program counters.
type panicSite [16]uintptr

// panics remembers which panics have been logged. The zero value is ready.
type panics struct {
	mutex sync.Mutex
	seen  map[panicSite]struct{}
}

// failure turns a recovered panic into a failure; called by the deferred function
// that recovered it. It carries the stack the first time only: a pod that makes
// us panic comes again with every retry of its ReplicaSet.
func (p *panics) failure(recovered any) *failure {
	f := &failure{
		status: http.StatusInternalServerError,
		reason: injector.ReasonInternal,
		err:    fmt.Errorf("panic: %v", recovered),
	}
	var site panicSite
	runtime.Callers(2, site[:])
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if _, seen := p.seen[site]; !seen && len(p.seen) < maxPanicSites {
		if p.seen == nil {
			p.seen = make(map[panicSite]struct{}, 1)
		}
		p.seen[site] = struct{}{}
		f.stack = debug.Stack()
	}
	return f
}
