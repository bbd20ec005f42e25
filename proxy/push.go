package proxy

import (
	"context"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
)

// update is new content for a file that Envoy watches.
type update struct {
	// what it is in a sentence, and the prefix of Envoy's statistics about it.
	source
	file    string
	content []byte
}

func clustersUpdate(content []byte) update {
	return update{sources()[0], bootstrap.ClustersFile, content}
}

func listenersUpdate(content []byte) update {
	return update{sources()[1], bootstrap.ListenersFile, content}
}

// routesUpdate is one of bootstrap.New's files of routes; ok is false for other files.
func routesUpdate(of bootstrap.File) (u update, ok bool) {
	name, isRoutes := strings.CutPrefix(of.Name, bootstrap.XDSFolder+"/rds-")
	if !isRoutes {
		return update{}, false
	}
	name = strings.TrimSuffix(name, ".json")
	direction, _, _ := strings.Cut(name, "-")
	return update{source{"the routes " + name + " (RDS)", "http." + direction + "_http.rds." + name}, of.Name, of.Content}, true
}

// rejection is Envoy's answer to an update, in its own words.
type rejection struct{ what, sentence string }

func (r *rejection) Error() string { return "Envoy rejected " + r.what + ": " + r.sentence }

// progress is what Envoy says of the files that it has read.
type progress struct {
	// of sources, by the prefix of their statistics.
	of map[string]sourceProgress
	// warming clusters and listeners have been taken and are not used yet.
	warmingClusters, warmingListeners int
}

type sourceProgress struct {
	// known is whether Envoy reads that file at all.
	known bool
	// accepted, rejected and unreadable are how often it was.
	accepted, rejected, unreadable int
	// version that was accepted last.
	version string
}

const progressFilter = `^(cluster_manager\.(cds\..*|warming_clusters)|listener_manager\.(lds\..*|total_listeners_warming)|http\.(in|out)bound_http\.rds\..*)$`

func (a *admin) progress(ctx context.Context) (progress, error) {
	body, err := a.ask(ctx, http.MethodGet, "/stats?filter="+url.QueryEscape(progressFilter))
	if err != nil {
		return progress{}, err
	}
	found := progress{of: map[string]sourceProgress{}}
	for line := range strings.Lines(body) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		found.note(name, value)
	}
	return found, nil
}

func (p *progress) note(name, value string) {
	number, _ := strconv.Atoi(value)
	switch name {
	case "cluster_manager.warming_clusters":
		p.warmingClusters = number
		return
	case "listener_manager.total_listeners_warming":
		p.warmingListeners = number
		return
	}
	at := strings.LastIndexByte(name, '.')
	prefix, kind := name[:max(at, 0)], name[at+1:]
	of := p.of[prefix]
	of.known = true
	switch kind {
	case "update_success":
		of.accepted = number
	case "update_rejected":
		of.rejected = number
	case "update_failure":
		of.unreadable = number
	case "version_text":
		of.version = strings.Trim(value, `"`)
	}
	p.of[prefix] = of
}

// push moves new content to the names of files and returns when Envoy has taken all of
// it, or with a rejection. What keeps it from moving a file or from asking Envoy is
// tried again for as long as it takes.
func (m *applier) push(ctx context.Context, version string, updates ...update) error {
	var before progress
	if err := m.persist(ctx, func() (err error) { before, err = m.admin.progress(ctx); return err }); err != nil {
		return err
	}
	rejections, _ := m.envoy.rejections()
	for _, u := range updates {
		if err := m.persist(ctx, func() error { return m.move(ctx, u) }); err != nil {
			return err
		}
	}
	return m.proof(ctx, version, before, rejections, updates)
}

// move gives Envoy the content of one file. Listeners that take the place of others would not
// know that they drain.
func (m *applier) move(ctx context.Context, u update) error {
	if u.file == bootstrap.ListenersFile {
		if err := m.undrained(ctx); err != nil {
			return err
		}
	}
	return replace(filepath.Join(m.sidecar.Folder, u.file), u.content)
}

// proof waits until Envoy has read each file once more than before. One that it does
// not know of is no matter yet: it reads that when a listener names it.
func (m *applier) proof(ctx context.Context, version string, before progress, rejections int, updates []update) error {
	return m.until(ctx, "Envoy has not read what was written for it yet", func() (bool, error) {
		now, err := m.admin.progress(ctx)
		if err != nil {
			return false, err
		}
		done := true
		for _, u := range updates {
			was, is := before.of[u.prefix], now.of[u.prefix]
			switch {
			case is.rejected > was.rejected || is.unreadable > was.unreadable:
				return false, &rejection{u.what, m.envoy.rejectedSince(ctx, rejections)}
			case was.known && is.known && (is.accepted == was.accepted || is.version != version):
				done = false
			}
		}
		return done, nil
	})
}

const (
	firstPause   = 5 * time.Millisecond
	longestPause = 250 * time.Millisecond
	// sayAfter is how long something may take until that is worth a sentence.
	sayAfter = 3 * time.Second
)

// until asks until the answer is yes, or the error a rejection. Another error is the
// reason why it takes so long.
func (m *applier) until(ctx context.Context, otherwise string, is func() (bool, error)) error {
	began := time.Now()
	for wait := firstPause; ; wait = min(2*wait, longestPause) {
		yes, err := is()
		switch {
		case isFinal(err):
			return err
		case yes:
			return nil
		case time.Since(began) > sayAfter && err != nil:
			m.waiting(err.Error())
		case time.Since(began) > sayAfter:
			m.waiting(otherwise)
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// persist tries until it succeeds, ever more slowly, and says what is in the way.
func (m *applier) persist(ctx context.Context, try func() error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m.waiting(err.Error())
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// rejectedSince is the sentence of the latest rejection in Envoy's log, which comes
// some moments behind its statistics.
func (e *envoy) rejectedSince(ctx context.Context, count int) string {
	const longest = 2 * time.Second
	for began := time.Now(); ; {
		if now, _ := e.rejections(); now > count {
			pause(ctx, firstPause) // its last line may have several parts
			_, sentence := e.rejections()
			return sentence
		}
		if time.Since(began) > longest || !pause(ctx, firstPause) {
			return "its log does not say why"
		}
	}
}
