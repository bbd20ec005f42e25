package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
)

// admin is Envoy's admin interface in a folder.
type admin struct {
	client *http.Client
}

func newAdmin(folder string) *admin {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(folder, bootstrap.AdminSocket))
	}
	return &admin{&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

const (
	// answerTime is what a single question may take: Envoy answers within
	// milliseconds unless its main thread hangs.
	answerTime = 2 * time.Second
	// longestAnswer is far above what any question here is answered with.
	longestAnswer = 4 << 20
)

// ask is the answer's body; any status but 200 is an error that has it.
func (a *admin) ask(ctx context.Context, method, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	response, err := a.open(ctx, method, path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, longestAnswer))
	if err != nil {
		return "", fmt.Errorf("reading the answer to %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", &refusal{path, response.StatusCode, strings.TrimSpace(string(body))}
	}
	return string(body), nil
}

func (a *admin) open(ctx context.Context, method, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://envoy"+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := a.client.Do(request)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, errors.New("the admin interface of Envoy has not answered in time: its main thread hangs, or the node is overloaded")
		}
		// The address in it is made up.
		if outer := new(url.Error); errors.As(err, &outer) {
			err = outer.Err
		}
		return nil, fmt.Errorf("the admin interface of Envoy does not answer: %w", err)
	}
	return response, nil
}

// refusal is an answer other than 200.
type refusal struct {
	path   string
	status int
	body   string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("Envoy's admin interface answered %s with HTTP %d: %s", r.path, r.status, r.body)
}

// stats are the counters and gauges whose names match a regular expression.
func (a *admin) stats(ctx context.Context, filter string) (map[string]int, error) {
	body, err := a.ask(ctx, http.MethodGet, "/stats?filter="+url.QueryEscape(filter))
	if err != nil {
		return nil, err
	}
	values := map[string]int{}
	for line := range strings.Lines(body) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if value, err := strconv.Atoi(text); err == nil {
			values[name] = value
		}
	}
	return values, nil
}

// source is configuration that Envoy has to have loaded, and the prefix of its
// statistics.
type source struct{ what, prefix string }

func sources() []source {
	rds := func(direction string) source {
		return source{"the routes of the listener " + direction + " (RDS)", "http." + direction + "_http.rds." + direction}
	}
	return []source{
		{"the clusters (CDS)", "cluster_manager.cds"}, {"the listeners (LDS)", "listener_manager.lds"},
		rds(bootstrap.Inbound), rds(bootstrap.Outbound),
	}
}

// missing says what keeps Envoy from serving, one sentence for each part; nothing
// where it serves. That it calls itself live is not enough: it does without a
// listener, too.
func (a *admin) missing(ctx context.Context) []string {
	body, err := a.ask(ctx, http.MethodGet, "/ready")
	if answer := new(refusal); errors.As(err, &answer) {
		return append([]string{"Envoy is not live yet: " + answer.body}, a.missingParts(ctx)...)
	}
	if err != nil {
		return []string{err.Error()}
	}
	if state := strings.TrimSpace(body); state != "LIVE" {
		return append([]string{"Envoy is not live yet: " + state}, a.missingParts(ctx)...)
	}
	return a.missingParts(ctx)
}

func (a *admin) missingParts(ctx context.Context) []string {
	loads, err := a.stats(ctx, `(cds|lds|rds\.[a-z]+)\.update_(success|rejected)$|^listener_manager\.workers_started$`)
	if err != nil {
		return []string{err.Error()}
	}
	var missing []string
	// Envoy calls itself live, and its listeners active, some moments before anybody
	// accepts connections.
	if loads["listener_manager.workers_started"] == 0 {
		missing = append(missing, "Envoy's worker threads have not started")
	}
	for _, s := range sources() {
		if loads[s.prefix+".update_success"] > 0 {
			continue
		}
		sentence := s.what + " are not loaded"
		if rejected := loads[s.prefix+".update_rejected"]; rejected > 0 {
			sentence += fmt.Sprintf(": Envoy rejected them %d times, and its log says why", rejected)
		}
		missing = append(missing, sentence)
	}
	active, err := a.listeners(ctx)
	if err != nil {
		return append(missing, err.Error())
	}
	for _, name := range [...]string{bootstrap.Inbound, bootstrap.Outbound} {
		if !active[name] {
			missing = append(missing, "the listener "+name+" is not active")
		}
	}
	return missing
}

// listeners are the names of those that are active.
func (a *admin) listeners(ctx context.Context) (map[string]bool, error) {
	body, err := a.ask(ctx, http.MethodGet, "/listeners?format=json")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Listeners []struct {
			Name string `json:"name"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return nil, fmt.Errorf("reading Envoy's list of listeners: %w", err)
	}
	active := map[string]bool{}
	for _, l := range answer.Listeners {
		active[l.Name] = true
	}
	return active, nil
}

// inboundConnections is how many connections clients have to the pod, and how many
// they have ever had.
func (a *admin) inboundConnections(ctx context.Context) (active, ever int, err error) {
	const prefix = "listener." + bootstrap.Inbound + ".downstream_"
	values, err := a.stats(ctx, `^listener\.`+bootstrap.Inbound+`\.downstream_(pre_cx_active|cx_active|cx_total)$`)
	active = values[prefix+"cx_active"] + values[prefix+"pre_cx_active"]
	return active, values[prefix+"cx_total"] + active, err
}
