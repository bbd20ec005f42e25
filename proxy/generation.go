package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// applier leads a running Envoy from one generation to the next, and keeps what it was
// led to. It works alone: nobody else writes what Envoy reads, once it runs.
type applier struct {
	sidecar *Sidecar
	admin   *admin
	envoy   *envoy
	folder  *folder
	// config renders running, which is nil for the passthrough.
	config bootstrap.Config
	// clusters are those of running as Envoy has them; retired are those that Envoy has
	// beside them, since something may still use them.
	clusters    []bootstrap.Cluster
	retired     []retired
	lookedAtUse time.Time
	// starting is whether the pod has just been started, and nothing has been decided since.
	starting bool
	// kept is whether a container that is killed would start with running.
	kept         bool
	triedKeeping time.Time
	// late is what was refused for being older than running.
	late  late
	clock func() time.Time
	// said is what was waited for last, which is not said again and again.
	said string

	mutex sync.Mutex
	meshState
	// trying is what is on its way, and blamed is whether Envoy has ended.
	trying trying
	blamed bool
}

// meshState is what others may know of an applier.
type meshState struct {
	status lifecycle.MeshStatus
	// keeps says which statistics are passed on.
	keeps bootstrap.Statistics
	// settled is whether the first decision has been made, or has taken too long.
	settled           bool
	applied, rejected int
}

// lookEvery is how often the folder is looked at.
const lookEvery = 250 * time.Millisecond

// newApplier knows what Envoy was started with.
func newApplier(s *Sidecar, config bootstrap.Config, e *envoy) *applier {
	m := &applier{sidecar: s, admin: newAdmin(s.Folder), envoy: e, folder: newFolder(s.MeshFolder, bootstrap.GenerationFile), config: config, starting: s.first, kept: true, clock: time.Now}
	if running := config.Generation; running != nil {
		for _, of := range running.Clusters {
			m.clusters = append(m.clusters, of.AtStart())
		}
		m.keeps = running.Statistics
	}
	m.status = lifecycle.MeshStatus{Running: known(config.Generation), State: lifecycle.MeshApplying, Reason: "Envoy has just been started", Since: time.Now()}
	return m
}

func known(g *bootstrap.Generation) *lifecycle.MeshGeneration {
	if g == nil {
		return nil
	}
	return &lifecycle.MeshGeneration{Version: g.Version, Number: g.Number, Created: g.Created}
}

// named is how a sentence calls a generation.
func named(g *bootstrap.Generation) string {
	if g == nil {
		return "the passthrough"
	}
	return fmt.Sprintf("generation %s (number %d) of MeshService %s", g.Version, g.Number, g.Service)
}

// run applies what is in the folder until the sidecar ends.
func (m *applier) run(ctx context.Context) {
	serving := func() (bool, error) { return len(m.admin.missing(ctx)) == 0, nil }
	if m.until(ctx, "Envoy does not serve yet", serving) != nil {
		return
	}
	time.AfterFunc(longestSettling, m.settle)
	if m.config.Generation != nil {
		go m.sidecar.prove(ctx)
	}
	m.awaitFirstAddresses(ctx)
	for m.take(ctx); ctx.Err() == nil; pause(ctx, lookEvery) {
		m.settle()
		if m.folder.changed() || m.isRestored() {
			m.take(ctx)
		} else {
			m.keep()
			m.dismiss(ctx, nil)
		}
	}
}

// longestSettling is how long a pod waits with being ready for a generation that takes
// its time, as one whose names DNS does not answer for.
const longestSettling = 3 * time.Second

// settle lets the pod be ready.
func (m *applier) settle() {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.settled = true
}

// take decides about what is in the folder now.
func (m *applier) take(ctx context.Context) {
	data, err := m.folder.read()
	if err == nil && data == nil && m.config.Generation != nil && pause(ctx, lookEvery) {
		// It takes two looks to believe that a MeshService was deleted.
		data, err = m.folder.read()
	}
	if err != nil {
		m.folder.again()
		// Nobody knows what is wanted.
		m.change(func(s *lifecycle.MeshStatus) { s.State = lifecycle.MeshApplying })
		m.waiting(err.Error())
		return
	}
	var wanted *bootstrap.Generation
	if data == nil {
		m.late = late{}
	} else if wanted, err = m.judge(data); err != nil {
		m.reject(wanted, err)
		return
	}
	m.want(wanted)
	if same(wanted, m.config.Generation) {
		m.inForce()
		return
	}
	switch err := m.apply(ctx, wanted); {
	case err == nil:
		m.sidecar.say("%s is in force", named(wanted))
		m.count(&m.applied)
		m.inForce()
		m.keep()
	case isFinal(err):
		m.forget()
		m.reject(wanted, err)
	case errors.Is(err, errSuperseded):
		m.sidecar.say("%s is left for a newer one", named(wanted))
		// It may be the same: that the folder cannot be looked at for a moment is a change, too.
		m.folder.again()
	}
}

func same(a, b *bootstrap.Generation) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Version == b.Version
}

// refusal by this program, before Envoy sees anything.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// isFinal is true of errors that another try would not help against.
func isFinal(err error) bool {
	return errors.As(err, new(refused)) || errors.As(err, new(*rejection))
}

// judge says whether what was read may be tried. It is returned with an error, too,
// where it could be read.
func (m *applier) judge(data []byte) (*bootstrap.Generation, error) {
	was := m.late
	m.late = late{}
	g, err := bootstrap.ParseGeneration(data)
	if err != nil {
		return nil, refused{err}
	}
	running, run := m.config.Generation, m.sidecar.Run
	refuse := func(format string, arguments ...any) (*bootstrap.Generation, error) {
		return g, refused{fmt.Errorf(named(g)+" "+format, arguments...)}
	}
	if g.Service != run.Service || m.sidecar.PodNamespace != "" && g.Namespace != m.sidecar.PodNamespace {
		return refuse("in namespace %s is not for this pod, which belongs to %s in %s", g.Namespace, run.Service, m.sidecar.PodNamespace)
	}
	if running != nil && g.OlderThan(running) {
		m.late = was
		if was.version != g.Version {
			m.late = late{g.Version, m.clock()}
		}
		if !m.isRestored() {
			return refuse("is older than the one in force, number %d: it has come late, and is taken if it is still there after %s", running.Number, restoredAfter)
		}
		m.late = late{}
	}
	if err := g.Check(m.config); err != nil {
		return refuse("cannot be meant for Envoy: %w", err)
	}
	for _, of := range g.Clusters {
		if !of.ChangesInPlace() && m.differs(of) {
			return refuse("has another cluster under the name %s than the one in force", of.Name)
		}
	}
	if n := m.sidecar.times(attempt, g.Version); n >= mostAttempts {
		return refuse("is not tried again: the sidecar has ended %d times while it was being applied", n)
	}
	if n := m.sidecar.times(crashes, g.Version); n >= mostAttempts && !same(g, running) {
		return refuse("%s", unsurvived(n))
	}
	return g, nil
}

// late is a generation that is older than the one in force, and when it was first seen.
type late struct {
	version string
	since   time.Time
}

// restoredAfter is how long an older generation stays in the folder until it is what is
// meant: an etcd was restored. kubelet may bring a volume late, and mends that within a minute
// or two.
const restoredAfter = 5 * time.Minute

func (m *applier) isRestored() bool {
	return m.late.version != "" && m.clock().Sub(m.late.since) >= restoredAfter
}

// differs says whether Envoy has a cluster of that name with another content.
func (m *applier) differs(of bootstrap.Cluster) bool {
	for _, have := range m.present() {
		if have.Name == of.Name {
			return string(have.AtStart().Message) != string(of.AtStart().Message)
		}
	}
	return false
}

// The state that others see.

func (m *applier) state() meshState {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.meshState
}

// unsettled says what keeps a pod that has just started from being ready.
func (m *applier) unsettled() []string {
	is := m.state()
	if is.settled {
		return nil
	}
	return []string{"the service's MeshService is being applied: " + is.status.Reason}
}

func (m *applier) change(f func(*lifecycle.MeshStatus)) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	before := m.status
	f(&m.status)
	if m.status.State != before.State || m.status.Reason != before.Reason {
		m.status.Since = time.Now()
	}
}

func (m *applier) want(g *bootstrap.Generation) {
	m.said = ""
	m.change(func(s *lifecycle.MeshStatus) { s.Wanted, s.State, s.Reason = known(g), lifecycle.MeshApplying, "" })
}

// waiting says what is in the way of going on. Once it is decided about what is wanted, that
// is said in the log alone: housekeeping does not take the place of why something was rejected.
func (m *applier) waiting(why string) {
	m.change(func(s *lifecycle.MeshStatus) {
		if s.State == lifecycle.MeshApplying {
			s.Reason = why
		}
	})
	if why != m.said {
		m.said = why
		m.sidecar.say("%s", why)
	}
}

func (m *applier) inForce() {
	m.starting = false
	running := m.config.Generation
	state, keeps := lifecycle.MeshPassthrough, bootstrap.Statistics{}
	if running != nil {
		state, keeps = lifecycle.MeshApplied, running.Statistics
	}
	m.mutex.Lock()
	m.keeps = keeps
	m.mutex.Unlock()
	m.change(func(s *lifecycle.MeshStatus) { s.Running, s.State, s.Reason = known(running), state, "" })
}

func (m *applier) reject(g *bootstrap.Generation, why error) {
	m.starting = false
	m.sidecar.say("not applied, %s stays in force: %v", named(m.config.Generation), why)
	m.count(&m.rejected)
	m.change(func(s *lifecycle.MeshStatus) {
		s.Wanted, s.State, s.Reason = known(g), lifecycle.MeshRejected, why.Error()
	})
}

func (m *applier) count(what *int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	*what++
}
