package auditor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

const (
	// lookAgain is how long the pause is at least before it is looked at what came of an
	// eviction, and tried again what failed.
	lookAgain = 15 * time.Second
	// leastOfAPass is how long a pass may take at least, and the interval where that is
	// longer: a request that is never answered must end, so that the next one is made.
	leastOfAPass = 10 * time.Minute
	// maxFile is how large a configuration may be, in bytes: as large as a ConfigMap.
	maxFile = 1 << 20
)

// Options are what an Auditor is made of.
type Options struct {
	// ConfigFile is an InjectorConfig, the same as the webhook's. It is read anew in
	// each pass.
	ConfigFile string
	// Interval between the beginnings of two passes.
	Interval time.Duration
	// EvictionsPerMinute bounds the evictions of all workloads together; 0 for none at all.
	EvictionsPerMinute int
	// Service of the webhook: nothing is evicted while it leads to no replica that is
	// ready.
	Service client.ObjectKey
	// OnError counts a pass that failed.
	OnError func()
	Log     *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// Auditor looks at the pods that exist.
type Auditor struct {
	options Options
	pods    *pods
	teller  *teller
	// evictor is nil where nothing is evicted.
	evictor *evictor
	metrics *Metrics
	// last configuration that could be used; nil before there was one.
	last *configuration
}

// configuration is one that was read.
type configuration struct {
	inject *injector.Injector
	optIn  v1alpha1.OptIn
}

// New makes an Auditor for the cluster of config. It reads by reader, which holds no
// cache, and evicts by writer.
func New(config *rest.Config, reader client.Reader, writer client.Client, recorder events.EventRecorder, metrics *Metrics, o Options) (*Auditor, error) {
	pods, err := newPods(config)
	if err != nil {
		return nil, err
	}
	a := &Auditor{options: o, pods: pods, teller: newTeller(reader, recorder, o.Log, o.Now), metrics: metrics}
	metrics.interval.Set(o.Interval.Seconds())
	if o.EvictionsPerMinute > 0 {
		a.evictor = &evictor{
			client: writer, reader: reader, service: o.Service, trials: newTrials(), teller: a.teller, metrics: metrics, log: o.Log,
			rate: rate.NewLimiter(rate.Every(time.Minute/time.Duration(o.EvictionsPerMinute)), 1),
		}
	}
	return a, nil
}

// Run makes a pass every interval until ctx is done. It is for the leader.
func (a *Auditor) Run(ctx context.Context) error {
	// A leader that never completes a pass has to be noticed, too.
	a.metrics.last.Set(float64(a.options.Now().Unix()))
	for ctx.Err() == nil {
		started := a.options.Now()
		f, err := a.look(ctx)
		// Before everything is looked at again there is a pause, since that costs
		// kube-apiserver something. Evictions go on meanwhile.
		looked := a.options.Now()
		pause := min(a.options.Interval, max(lookAgain, 2*looked.Sub(started)))
		next := started.Add(a.options.Interval)
		if f != nil && a.evictor != nil {
			unfinished, failed := a.evictor.evict(ctx, f, pause)
			if err = errors.Join(err, failed); unfinished {
				next = looked.Add(pause)
			}
		}
		if err != nil && ctx.Err() == nil {
			a.options.Log.Error("the audit failed", "error", err)
			a.options.OnError()
		}
		// What was not looked at is tried again soon. Of other failures, such as a pod that
		// cannot be evicted or a configuration that cannot be read, a pass shows no more.
		if f == nil {
			next = looked.Add(pause)
		}
		select {
		case <-ctx.Done():
		case <-time.After(next.Sub(a.options.Now())):
		}
	}
	return nil
}

// look looks at all pods once, and says what it found. Findings are nil where it did not get
// so far.
func (a *Auditor) look(ctx context.Context) (*findings, error) {
	c, failed := a.read()
	if c == nil {
		return nil, failed
	}
	ctx, cancel := context.WithTimeout(ctx, max(a.options.Interval, leastOfAPass))
	defer cancel()
	tracked := func(types.UID) bool { return false }
	if a.evictor != nil {
		tracked = a.evictor.trials.tracked
	}
	f, err := look(ctx, a.pods, c.inject, c.optIn, tracked)
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	a.metrics.set(f)
	a.metrics.last.Set(float64(a.options.Now().Unix()))
	a.teller.tell(ctx, f)
	return f, failed
}

// read reads the configuration. The last one that could be used stays in force, with an
// error, while there is none that can.
func (a *Auditor) read() (*configuration, error) {
	c, err := readConfiguration(a.options.ConfigFile)
	if err != nil {
		return a.last, fmt.Errorf("reading the configuration %s: %w", a.options.ConfigFile, err)
	}
	a.last = c
	return c, nil
}

func readConfiguration(path string) (*configuration, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	document, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(document) > maxFile {
		return nil, fmt.Errorf("it has more than %d bytes", maxFile)
	}
	config, err := v1alpha1.Decode(document)
	if err != nil {
		return nil, err
	}
	inject, err := injector.New(config)
	if err != nil {
		return nil, err
	}
	return &configuration{inject, config.OptIn}, nil
}
