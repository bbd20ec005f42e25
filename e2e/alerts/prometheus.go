package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"
)

// patience is how long a start may take on a machine that is busy.
const patience = time.Minute

// Programs are paths.
type Programs struct {
	Prometheus, Promtool string
}

// Find asks hack/prometheus/fetch where the programs are. One that is missing is an
// error: fetching it needs a network, which should not take a test by surprise.
func Find(ctx context.Context, root string) (Programs, error) {
	fetch, err := filepath.Abs(filepath.Join(root, "hack", "prometheus", "fetch"))
	if err != nil {
		return Programs{}, fmt.Errorf("finding hack/prometheus/fetch: %w", err)
	}
	output, err := exec.CommandContext(ctx, fetch, "--print").Output()
	if err != nil {
		return Programs{}, fmt.Errorf("running %s --print: %w", fetch, err)
	}
	folder := strings.TrimSpace(string(output))
	programs := Programs{Prometheus: filepath.Join(folder, "prometheus"), Promtool: filepath.Join(folder, "promtool")}
	for _, path := range []string{programs.Prometheus, programs.Promtool} {
		if _, err := os.Stat(path); err != nil {
			return Programs{}, fmt.Errorf("%s is not there (%w): run hack/prometheus/fetch, as `make test` does", path, err)
		}
	}
	return programs, nil
}

// Target is something to scrape.
type Target struct {
	// Job and Address, as "pillion-webhook" and "localhost:8080".
	Job, Address string
	// Labels beside job and instance.
	Labels map[string]string
	// TLS has ca_file, cert_file and key_file; nil is plain HTTP.
	TLS map[string]any
}

// Prometheus is one that runs.
type Prometheus struct {
	address string
	command *exec.Cmd
	exited  chan error
}

// Start runs Prometheus on the loopback, which each second scrapes the targets and
// evaluates the rules of a file, and returns when it answers. Its data are in folder,
// and what it says goes to log. It ends with this process, however that ends.
func Start(ctx context.Context, program, folder, rules string, targets []Target, log io.Writer) (*Prometheus, error) {
	configuration, err := configure(folder, rules, targets)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p := &Prometheus{address: address, exited: make(chan error, 1)}
	// It goes on until Stop, also when the caller's context is done.
	p.command = exec.CommandContext(context.WithoutCancel(ctx), program,
		"--config.file="+configuration, "--web.listen-address="+address,
		"--storage.tsdb.path="+filepath.Join(folder, "data"), "--log.level=warn")
	p.command.Stdout, p.command.Stderr = log, log
	// A test that is killed calls no Stop, so the kernel has to.
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The kernel takes the end of the thread that started a program for the
		// parent's end: hold it.
		runtime.LockOSThread()
		err := p.command.Start()
		started <- err
		if err == nil {
			p.exited <- p.command.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting Prometheus: %w", err)
	}
	if err := p.waitReady(ctx); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// Stop ends it and waits for that.
func (p *Prometheus) Stop() error {
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping Prometheus: %w", err)
	}
	if err := <-p.exited; err != nil {
		return fmt.Errorf("Prometheus ended: %w", err)
	}
	return nil
}

// configure writes Prometheus' configuration into folder.
func configure(folder, rules string, targets []Target) (path string, err error) {
	rules, err = filepath.Abs(rules)
	if err != nil {
		return "", fmt.Errorf("finding the rules: %w", err)
	}
	var jobs []any
	for _, target := range targets {
		job := map[string]any{
			"job_name":       target.Job,
			"static_configs": []any{map[string]any{"targets": []string{target.Address}, "labels": target.Labels}},
		}
		if target.TLS != nil {
			job["scheme"], job["tls_config"] = "https", target.TLS
		}
		jobs = append(jobs, job)
	}
	text, err := yaml.Marshal(map[string]any{
		"global":         map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files":     []string{rules},
		"scrape_configs": jobs,
	})
	if err != nil {
		return "", fmt.Errorf("writing Prometheus' configuration: %w", err)
	}
	path = filepath.Join(folder, "prometheus.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return "", fmt.Errorf("writing Prometheus' configuration: %w", err)
	}
	return path, nil
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

func (p *Prometheus) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := p.get(ctx, "/-/ready", nil); err == nil {
			return nil
		}
		select {
		case err := <-p.exited:
			p.exited <- err
			return errors.New("Prometheus ended before it was ready; see what it says")
		case <-ctx.Done():
			return fmt.Errorf("Prometheus was not ready in time: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// get is the body of an answer with HTTP 200.
func (p *Prometheus) get(ctx context.Context, path string, values url.Values) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path+"?"+values.Encode(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP %d: %s", response.StatusCode, body)
	}
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus for %s: %w", path, err)
	}
	return body, nil
}

// ask is the data of an answer of the HTTP API.
func (p *Prometheus) ask(ctx context.Context, path string, values url.Values, data any) error {
	body, err := p.get(ctx, path, values)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, &struct {
		Data any `json:"data"`
	}{data}); err != nil {
		return fmt.Errorf("reading Prometheus' answer to %s: %w", path, err)
	}
	return nil
}

// Series runs a query over the last minutes, as a panel does, and returns the labels of
// each line.
func (p *Prometheus) Series(ctx context.Context, query string) ([]map[string]string, error) {
	now := time.Now()
	var data struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
		} `json:"result"`
	}
	err := p.ask(ctx, "/api/v1/query_range", url.Values{
		"query": {query}, "step": {"1"},
		"start": {now.Add(-5 * time.Minute).Format(time.RFC3339Nano)}, "end": {now.Format(time.RFC3339Nano)},
	}, &data)
	if err != nil {
		return nil, err
	}
	var series []map[string]string
	for _, line := range data.Result {
		series = append(series, line.Metric)
	}
	return series, nil
}

// RuleState is what Prometheus says of a rule.
type RuleState struct {
	Name string `json:"name"`
	// State is inactive, pending or firing.
	State string `json:"state"`
	// Health is ok, err or, before the first evaluation, unknown.
	Health    string `json:"health"`
	LastError string `json:"lastError"`
}

// Rules are all of them.
func (p *Prometheus) Rules(ctx context.Context) ([]RuleState, error) {
	var data struct {
		Groups []struct {
			Rules []RuleState `json:"rules"`
		} `json:"groups"`
	}
	if err := p.ask(ctx, "/api/v1/rules", nil, &data); err != nil {
		return nil, err
	}
	var rules []RuleState
	for _, group := range data.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules, nil
}
