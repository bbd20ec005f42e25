package proxy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// errSuperseded is no error: there is something newer to apply.
var errSuperseded = errors.New("superseded")

// apply leads Envoy to a generation, or to the passthrough (nil). Nothing that is in use
// is changed before everything that it is changed to has been taken by Envoy:
//
//	clusters   those in force and the new ones; until they are active and have addresses
//	trial      listeners that nobody can reach, with all new chains, filters and routes
//	in place   clusters of filter chains, whose content was tried with the first step
//	routes     to the new clusters
//	listeners  the new ones, without the trial
//	...        and when nothing uses them any more, the old clusters go: see dismiss
//
// A rejection at any step leaves what was in force in force.
func (m *applier) apply(ctx context.Context, wanted *bootstrap.Generation) error {
	next := m.config
	next.Generation = wanted
	m.try(next.Version())
	defer m.try("")
	changed, awaited := m.changedInPlace(clustersOf(next)), missingIn(m.clusters, clustersOf(next))
	asked, err := m.askedFor(ctx, awaited)
	if err != nil {
		return err
	}
	if err := m.survive(func() error { return m.addClusters(ctx, next, changed) }); err != nil {
		return err
	}
	// From here on they are among the retired, which nothing leads to.
	if err := m.awaitAddresses(ctx, awaited, asked); err != nil {
		return err
	}
	if err := m.survive(func() error { return m.switchOver(ctx, next, changed) }); err != nil {
		return err
	}
	have, old, before := replaced(m.present(), changed), missingIn(clustersOf(next), m.clusters), m.config.Generation
	m.clusters, m.config = nil, next
	for _, of := range clustersOf(next) {
		m.clusters = append(m.clusters, have[indexOf(have, of.Name)])
	}
	m.retired = slices.DeleteFunc(m.retired, func(r retired) bool { return indexOf(m.clusters, r.Name) >= 0 })
	m.retire(old, before)
	m.forget()
	m.kept, m.triedKeeping = false, time.Time{}
	return nil
}

// present are all clusters that Envoy has from us.
func (m *applier) present() []bootstrap.Cluster {
	all := slices.Clone(m.clusters)
	for _, of := range m.retired {
		all = append(all, of.Cluster)
	}
	return all
}

func clustersOf(c bootstrap.Config) []bootstrap.Cluster {
	if c.Generation == nil {
		return nil
	}
	return c.Generation.Clusters
}

func indexOf(clusters []bootstrap.Cluster, name string) int {
	return slices.IndexFunc(clusters, func(c bootstrap.Cluster) bool { return c.Name == name })
}

// missingIn are those of a list that another does not have.
func missingIn(other, list []bootstrap.Cluster) []bootstrap.Cluster {
	return slices.DeleteFunc(slices.Clone(list), func(c bootstrap.Cluster) bool { return indexOf(other, c.Name) >= 0 })
}

// changedInPlace are those of a list that Envoy has with another content.
func (m *applier) changedInPlace(list []bootstrap.Cluster) []bootstrap.Cluster {
	return slices.DeleteFunc(slices.Clone(list), func(c bootstrap.Cluster) bool { return !c.ChangesInPlace() || !m.differs(c) })
}

// replaced is a list with the new content of those that changed.
func replaced(list, changed []bootstrap.Cluster) []bootstrap.Cluster {
	list = slices.Clone(list)
	for _, of := range changed {
		list[indexOf(list, of.Name)] = of
	}
	return list
}

// addClusters gives Envoy those that it does not have, and on trial those that are to change
// in place.
func (m *applier) addClusters(ctx context.Context, next bootstrap.Config, changed []bootstrap.Cluster) error {
	have := m.present()
	wanted := slices.Clone(clustersOf(next))
	for _, of := range changed {
		wanted = append(wanted, of.Trial())
	}
	added := missingIn(have, wanted)
	if len(added) == 0 {
		return nil
	}
	err := m.push(ctx, next.Version(), clustersUpdate(bootstrap.NewClusters(next.Version(), slices.Concat(have, added))))
	if isFinal(err) {
		// Envoy has taken those that it did not complain of.
		if back := m.push(ctx, m.config.Version(), clustersUpdate(bootstrap.NewClusters(m.config.Version(), have))); back != nil {
			return fmt.Errorf("%w; and going back: %w", err, back)
		}
		return err
	}
	m.retire(added, nil)
	return err
}

// askedFor is how often DNS has answered for clusters: statistics are by the name that a
// cluster shares with those before it.
func (m *applier) askedFor(ctx context.Context, clusters []bootstrap.Cluster) (map[string]int, error) {
	if len(clusters) == 0 {
		return nil, nil
	}
	var answers map[string]int
	err := m.persist(ctx, func() (err error) { answers, err = m.admin.dnsAnswers(ctx); return err })
	asked := map[string]int{}
	for _, of := range clusters {
		asked[of.Plain()] = answers[of.Plain()]
	}
	return asked, err
}

// switchOver leads connections and requests to the new clusters.
func (m *applier) switchOver(ctx context.Context, next bootstrap.Config, changed []bootstrap.Cluster) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	trial := next.Version() + "-trial"
	if err := m.push(ctx, trial, listenersUpdate(bootstrap.NewTrial(trial, m.config, next))); err != nil {
		return m.back(ctx, err, nil)
	}
	var before progress
	if err := m.persist(ctx, func() (err error) { before, err = m.admin.progress(ctx); return err }); err != nil {
		return err
	}
	rejections, _ := m.envoy.rejections()
	if len(changed) > 0 {
		clusters := replaced(m.present(), changed)
		if err := m.push(ctx, next.Version(), clustersUpdate(bootstrap.NewClusters(next.Version(), clusters))); err != nil {
			return m.back(ctx, err, nil)
		}
	}
	routes, listeners := split(bootstrap.New(next))
	if err := m.push(ctx, next.Version(), routes...); err != nil {
		return m.back(ctx, err, routes)
	}
	if err := m.push(ctx, next.Version(), listeners); err != nil {
		return m.back(ctx, err, routes)
	}
	// The routes of ports that are new are read by now, too.
	if err := m.routesTaken(ctx, next.Version(), before, rejections, routes); err != nil {
		return m.back(ctx, err, routes)
	}
	m.removeRoutes(routes)
	return nil
}

// split are the files of routes and of listeners.
func split(files []bootstrap.File) (routes []update, listeners update) {
	for _, f := range files {
		if u, ok := routesUpdate(f); ok {
			routes = append(routes, u)
		} else if f.Name == bootstrap.ListenersFile {
			listeners = listenersUpdate(f.Content)
		}
	}
	return routes, listeners
}

// routesTaken waits for all routes, and for listeners that wait for some.
func (m *applier) routesTaken(ctx context.Context, version string, before progress, rejections int, routes []update) error {
	return m.until(ctx, "Envoy is preparing its listeners", func() (bool, error) {
		now, err := m.admin.progress(ctx)
		if err != nil {
			return false, err
		}
		for _, u := range routes {
			was, is := before.of[u.prefix], now.of[u.prefix]
			if is.rejected > was.rejected || is.unreadable > was.unreadable {
				return false, &rejection{u.what, m.envoy.rejectedSince(ctx, rejections)}
			}
			if is.version != version {
				return false, nil
			}
		}
		return now.warmingListeners == 0, nil
	})
}

// back puts what was in force back in force, whole. routes are those that may have been
// changed. Where the sidecar ends, nothing is moved any more.
func (m *applier) back(ctx context.Context, why error, routes []update) error {
	old, listeners := split(bootstrap.New(m.config))
	clusters := clustersUpdate(bootstrap.NewClusters(m.config.Version(), m.present()))
	err := m.push(ctx, m.config.Version(), listeners, clusters)
	if err == nil && routes != nil {
		err = m.push(ctx, m.config.Version(), old...)
	}
	if err != nil {
		return fmt.Errorf("%w; and going back: %w", why, err)
	}
	m.removeRoutes(old)
	return why
}

// removeRoutes removes the files of ports that are not in use any more.
func (m *applier) removeRoutes(used []update) {
	files, _ := filepath.Glob(filepath.Join(m.sidecar.Folder, bootstrap.XDSFolder, "rds-*.json"))
	for _, path := range files {
		if !slices.ContainsFunc(used, func(u update) bool { return strings.HasSuffix(path, "/"+filepath.Base(u.file)) }) {
			_ = os.Remove(path)
		}
	}
}

// keepEvery is how often keeping is tried.
const keepEvery = 5 * time.Second

// keep makes a container that is killed resume with what is in force now. It is in force
// whether that succeeds or not.
func (m *applier) keep() {
	if m.kept || time.Since(m.triedKeeping) < keepEvery {
		return
	}
	m.triedKeeping = time.Now()
	why := ""
	if err := m.tryToKeep(); err != nil {
		why = fmt.Sprintf("%s is in force, and a container that is killed would not start with it: %v", named(m.config.Generation), err)
	}
	m.kept = why == ""
	said := true
	m.change(func(s *lifecycle.MeshStatus) {
		// Why something else was rejected is more.
		if s.State == lifecycle.MeshApplied || s.State == lifecycle.MeshPassthrough {
			said, s.Reason = s.Reason == why, why
		}
	})
	if !said && why != "" {
		m.sidecar.say("%s", why)
	}
}

func (m *applier) tryToKeep() error {
	path := filepath.Join(m.sidecar.Folder, lastGood)
	if m.config.Generation == nil {
		if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := m.config.Generation.Seal()
	if err != nil {
		return err
	}
	return replace(path, data)
}

// lockFile keeps `drain` from beginning while listeners change: Envoy would forget
// that it drains.
const lockFile = "lock"

// whileDraining is all that is said of a change that comes then.
const whileDraining = "the pod is draining: nothing is changed any more"

func (s *Sidecar) drains() bool {
	_, err := os.Stat(filepath.Join(s.Folder, draining))
	return err == nil
}

// undrained returns where the pod does not drain. `drain` does not wait for the lock for long.
func (m *applier) undrained(ctx context.Context) error {
	return m.until(ctx, whileDraining, func() (bool, error) { return !m.sidecar.drains(), nil })
}

// lock is refused where the pod drains.
func (m *applier) lock(ctx context.Context) (unlock func(), err error) {
	err = m.until(ctx, whileDraining, func() (bool, error) {
		if unlock, err = lockFolder(m.sidecar.Folder); err != nil {
			return false, err
		}
		if m.sidecar.drains() {
			unlock()
			return false, nil
		}
		return true, nil
	})
	return unlock, err
}

// lockFolder waits for nobody: it is an error that somebody else has it.
func lockFolder(path string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("waiting for the end of a change of Envoy's listeners: %w", err)
	}
	return func() { _ = file.Close() }, nil
}
