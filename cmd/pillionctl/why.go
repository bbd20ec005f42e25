package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/pillion-mesh/pillion/injector"
)

func (p *program) whyCommand(invocation string) *cobra.Command {
	var (
		in   input
		live cluster
	)
	cmd := &cobra.Command{
		Use:   "why -f FILE | KIND/NAME",
		Short: "Tell whether each pod gets a sidecar, why, and which one",
		Long: "Tell for each pod in manifests whether it gets a sidecar, why, and what to do for another\n" +
			"answer; and for one that gets it: every value with the level that set it, the redirect rules,\n" +
			"what happens when it stops, and what is added and changed.\n\n" +
			"With KIND/NAME, as deploy/web or pod/web-1, the same about an object of a cluster, with its\n" +
			"namespace and the configuration of the release that the namespace is for. It adds which\n" +
			"entries of the webhook configurations select its pods, what kube-apiserver makes of one now (by a\n" +
			"dry run, of which nothing is stored), and for a pod how its sidecar stands, and if it has none,\n" +
			"what speaks for a webhook that did not answer.\n\n" + exitHelp,
		Example: examples(invocation,
			"why -f web.yaml", "as a text",
			"why -f web.yaml -o json | jq '.[].code'", "the reason codes alone",
			"why -f web.yaml -n shop --namespace-labels service-mesh-enabled=true", "with the namespace's labels",
			"why deploy/web -n shop", "about what is in the cluster"),
		Args: cobra.MaximumNArgs(1),
	}
	in.addFlags(cmd)
	live.addConnectionFlags(cmd)
	completeNamespaces(cmd, &live)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		live.namespace = ""
		if cmd.Flags().Changed("namespace") {
			live.namespace = in.namespace
		}
		return completeObject(&live, workloadKinds())(cmd, args, typed)
	}
	output := addOutput(cmd, "`format`: table or json", "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.check(); err != nil {
			return err
		}
		if len(args) == 0 {
			return p.why(&in, output.format)
		}
		if len(in.files) > 0 || in.configFile != "" || in.namespaceLabels != nil {
			return fmt.Errorf("%s is an object of the cluster, of which the namespace and the configuration are known: leave out -f, --config and --namespace-labels", args[0])
		}
		if cmd.Flags().Changed("namespace") {
			live.namespace = in.namespace
		}
		return p.whyLive(cmd.Context(), &live, args[0], output.format)
	}
	return cmd
}

func (p *program) why(in *input, format string) error {
	l, err := p.load(in)
	if err != nil {
		return err
	}
	pods, err := p.judge(l, in)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return findings{fmt.Errorf("no pod was found in %s: what counts is a Pod, and whatever has a pod template: a field named template (or workerTemplate and the like) with spec.containers", strings.Join(in.files, ", "))}
	}
	accounts := make([]account, 0, len(pods))
	for n := range pods {
		accounts = append(accounts, explain(&pods[n]))
	}
	return p.writeAccounts(accounts, format)
}

func (p *program) writeAccounts(accounts []account, format string) (err error) {
	if format == "json" {
		err = writeJSON(p.out, accounts)
	} else {
		err = p.printAccounts(accounts)
	}
	refused := 0
	for n := range accounts {
		if accounts[n].Verdict == string(injector.Refuse) {
			refused++
		}
	}
	if err == nil && refused > 0 {
		err = findings{fmt.Errorf("%d of %d pods refused", refused, len(accounts))}
	}
	return err
}

// account is everything that is to be said about one pod; its JSON is the output
// of `why -o json`.
type account struct {
	File      string `json:"file"`
	Line      int    `json:"line"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// Path of the pod in its document, as "spec.template".
	Path string `json:"path"`

	Verdict  string         `json:"verdict"`
	Code     string         `json:"code"`
	Reason   string         `json:"reason"`
	Message  string         `json:"message"`
	Meaning  string         `json:"meaning"`
	Remedy   string         `json:"remedy"`
	Errors   []errorLine    `json:"errors,omitempty"`
	Warnings []warningLine  `json:"warnings,omitempty"`
	Hints    []string       `json:"hints,omitempty"`
	Values   []valueLine    `json:"values,omitempty"`
	Ports    []portLine     `json:"reservedPorts,omitempty"`
	Rules    []ruleLine     `json:"rules,omitempty"`
	Shutdown []shutdownStep `json:"shutdown,omitempty"`
	Added    []string       `json:"added,omitempty"`
	Changed  []changeLine   `json:"changed,omitempty"`

	// Cluster is what the cluster itself says; nil where only a manifest was read.
	Cluster *clusterAccount `json:"cluster,omitempty"`
}

type errorLine struct {
	Place   string `json:"place"`
	Path    string `json:"path"`
	Message string `json:"message"`
}

type warningLine struct {
	Code    string `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
}

type valueLine struct {
	Path  string `json:"path"`
	Value string `json:"value"`
	From  string `json:"from"`
}

type portLine struct {
	// Direction is inbound, outbound or both.
	Direction string `json:"direction"`
	Ports     string `json:"ports"`
	Protocol  string `json:"protocol,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Owner     string `json:"owner,omitempty"`
	Expires   string `json:"expires,omitempty"`
	From      string `json:"from"`
}

type ruleLine struct {
	Rule    string `json:"rule"`
	Comment string `json:"comment"`
}

// shutdownStep is what happens at a time after the pod's deletion.
type shutdownStep struct {
	After string `json:"after"`
	What  string `json:"what"`
}

type changeLine struct {
	Path string         `json:"path"`
	From jsontext.Value `json:"from"`
	To   jsontext.Value `json:"to"`
}

func explain(j *judged) account {
	r, o := j.result, j.object
	a := account{
		File: o.File, Line: o.Line, Kind: o.Kind, Name: o.Name, Namespace: j.namespace.Name, Path: j.found.Path,
		Verdict: string(r.Decision.Verdict), Code: r.Decision.Reason.Code, Reason: r.Decision.Reason.Name,
		Message: r.Message, Meaning: r.Decision.Reason.Meaning, Remedy: r.Decision.Reason.Remedy,
	}
	if j.namespaceUnknown() {
		a.Hints = append(a.Hints, fmt.Sprintf("the labels of namespace %s are not known and taken as opted in; give its manifest as well, or --namespace-labels", j.namespace.Name))
	}
	for _, err := range r.Errors {
		path, place := j.found.Field(err.Field)
		a.Errors = append(a.Errors, errorLine{place, path, err.ErrorBody()})
	}
	for _, w := range r.Warnings {
		a.Warnings = append(a.Warnings, warningLine{w.Reason.Code, w.Reason.Name, w.Message, w.Reason.Remedy})
	}
	if r.Sidecar != nil {
		a.sidecar(j)
	}
	if r.Status != nil {
		a.Added = r.Status.Added
		for _, c := range r.Status.Changed {
			a.Changed = append(a.Changed, changeLine{c.Path, c.From, c.To})
		}
	}
	return a
}

// sidecar tells what was resolved.
func (a *account) sidecar(j *judged) {
	s := j.result.Sidecar
	for _, v := range s.Values() {
		a.Values = append(a.Values, valueLine{v.Path, v.Text, v.Source.String()})
	}
	a.Ports = reserved(s)
	for _, rule := range s.Redirect.Rules() {
		a.Rules = append(a.Rules, ruleLine{rule.String(), rule.Comment})
	}
	a.Shutdown = shutdown(j)
}

// reserved joins the reserved ports of both directions.
func reserved(s *injector.Sidecar) []portLine {
	var lines []portLine
	index := map[portLine]int{}
	for _, direction := range [...]struct {
		name  string
		ports []injector.Port
	}{{"inbound", s.ReservedInbound}, {"outbound", s.ReservedOutbound}} {
		for _, port := range direction.ports {
			line := portLine{
				Ports: port.String(), Protocol: port.Protocol, Reason: port.Reason,
				Owner: port.Owner, Expires: port.Expires, From: port.Source.String(),
			}
			if n, twice := index[line]; twice {
				lines[n].Direction = "both"
				continue
			}
			index[line] = len(lines)
			line.Direction = direction.name
			lines = append(lines, line)
		}
	}
	return lines
}

// shutdown is the pod's end as kubelet and the sidecar make it.
func shutdown(j *judged) []shutdownStep {
	drain := j.result.Sidecar.Drain
	grace := int64(30)
	if given := j.pod.Spec.TerminationGracePeriodSeconds; given != nil {
		grace = *given
	}
	sleeps := false
	for _, c := range j.result.Status.Changed {
		if c.Path == "spec.terminationGracePeriodSeconds" {
			if _, err := fmt.Sscan(string(c.To), &grace); err != nil {
				grace = 0
			}
		}
		sleeps = sleeps || strings.HasSuffix(c.Path, ".lifecycle.preStop")
	}
	delay, drained := drain.PreDrainDelay, drain.PreDrainDelay+drain.DrainTime
	steps := []shutdownStep{{"0s", "the pod is deleted: preStop hooks start, and it goes on serving until its clients no longer find it"}}
	steps = append(steps,
		shutdownStep{delay.String(), "Envoy tells inbound clients to go elsewhere; it stops early once none is connected"},
		shutdownStep{drained.String(), "inbound connections that are left are closed; outbound stays open for the app"})
	if sleeps {
		steps = append(steps, shutdownStep{drain.AppSleep().String(), "an app container that was given the sleep gets its SIGTERM; one with a preStop hook of its own gets it when that ends"})
	} else {
		steps = append(steps, shutdownStep{"", "an app container gets its SIGTERM when its own preStop hook ends, at once if it has none"})
	}
	return append(steps, shutdownStep{(time.Duration(grace) * time.Second).String(), "what still runs is killed (terminationGracePeriodSeconds)"})
}
