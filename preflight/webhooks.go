package preflight

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// entry is one webhook of a configuration, with what the checks look at.
type entry struct {
	configuration, name string
	client              admissionv1.WebhookClientConfig
	namespaces, objects *metav1.LabelSelector
}

// String names it in messages.
func (e *entry) String() string { return e.configuration + "/" + e.name }

// calls says whether an entry calls the Service of that name.
func (e *entry) calls(namespace, name string) bool {
	s := e.client.Service
	return s != nil && s.Namespace == namespace && s.Name == name
}

// mutating are the entries that call the release about pods.
func (f *Facts) mutating(r *Installed) []entry {
	var entries []entry
	for _, configuration := range f.Mutating.Value {
		for n := range configuration.Webhooks {
			w := &configuration.Webhooks[n]
			e := entry{configuration.Name, w.Name, w.ClientConfig, w.NamespaceSelector, w.ObjectSelector}
			if e.calls(r.Namespace, r.Name) && touchesPods(w.Rules) {
				entries = append(entries, e)
			}
		}
	}
	return entries
}

// validating are the entries that call the release about workloads.
func (f *Facts) validating(r *Installed) []entry {
	var entries []entry
	for _, configuration := range f.Validating.Value {
		for n := range configuration.Webhooks {
			w := &configuration.Webhooks[n]
			e := entry{configuration.Name, w.Name, w.ClientConfig, w.NamespaceSelector, w.ObjectSelector}
			if e.calls(r.Namespace, r.Name) {
				entries = append(entries, e)
			}
		}
	}
	return entries
}

// touchesPods says whether rules send the creation of pods.
func touchesPods(rules []admissionv1.RuleWithOperations) bool {
	has := func(list []string, one string) bool { return slices.Contains(list, one) || slices.Contains(list, "*") }
	return slices.ContainsFunc(rules, func(r admissionv1.RuleWithOperations) bool {
		creates := slices.Contains(r.Operations, admissionv1.Create) || slices.Contains(r.Operations, admissionv1.OperationAll)
		return creates && has(r.APIGroups, "") && (has(r.Resources, "pods") || slices.Contains(r.Resources, "*/*")) && has(r.APIVersions, "v1")
	})
}

// selects says whether a selector takes labels; nil is one that takes everything.
func selects(selector *metav1.LabelSelector, of map[string]string) bool {
	if selector == nil {
		return true
	}
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(labels.Set(of))
}

// Selecting are the entries, by CONFIGURATION/NAME, whose selectors take a pod with
// these labels in a namespace. What their matchConditions say is not evaluated.
func (f *Facts) Selecting(r *Installed, namespace *corev1.Namespace, pod map[string]string) []string {
	var names []string
	for _, e := range f.mutating(r) {
		if selects(e.namespaces, namespaceLabels(namespace)) && selects(e.objects, pod) {
			names = append(names, e.String())
		}
	}
	return names
}

// namespaceLabels are a namespace's with the one that kube-apiserver sets.
func namespaceLabels(ns *corev1.Namespace) map[string]string {
	all := map[string]string{}
	maps.Copy(all, ns.Labels)
	all[corev1.LabelMetadataName] = ns.Name
	return all
}

func configurationsFound(f *Facts, r *Installed) []Finding {
	report := report{subject: r.String()}
	switch {
	case f.Mutating.Err != nil:
		report.unseen("the MutatingWebhookConfigurations", f.Mutating.Err)
	case len(f.mutating(r)) == 0:
		report.problem("no MutatingWebhookConfiguration sends new pods to Service %s/%s", r.Namespace, r.Name)
	}
	switch {
	case f.Validating.Err != nil:
		report.unseen("the ValidatingWebhookConfigurations", f.Validating.Err)
	case len(f.validating(r)) == 0:
		report.notice("no ValidatingWebhookConfiguration sends workloads to Service %s/%s, so nobody is warned when they apply one", r.Namespace, r.Name)
	}
	return report.findings
}

// example is a namespace with the answer that the selectors have to give.
type example struct {
	what   string
	labels map[string]string
	name   string
	taken  bool
}

// examples are what the configuration says of namespaces.
func (r *Installed) examples() []example {
	optedIn := func(more ...string) map[string]string {
		l := map[string]string{r.Config.OptIn.Label: r.Config.OptIn.Value}
		if r.Config.Revision != "" {
			l[v1alpha1.RevisionLabel] = r.Config.Revision
		}
		for n := 0; n < len(more); n += 2 {
			l[more[n]] = more[n+1]
		}
		return l
	}
	const some = "a-namespace-that-opts-in"
	all := []example{
		{"one that opts in", optedIn(), some, true},
		{"one that opts in and has the label pillion.dev/strict=true", optedIn("pillion.dev/strict", "true"), some, true},
		{"one without the opt-in label", map[string]string{}, some, false},
		{"one of another revision", optedIn(v1alpha1.RevisionLabel, r.Config.Revision+"-other"), some, false},
		{"the release's own", optedIn(), r.Namespace, false},
		{"kube-system", optedIn(), "kube-system", false},
	}
	for _, name := range r.Config.ExcludedNamespaces {
		if !strings.ContainsAny(name, "*?") {
			all = append(all, example{"the excluded " + name, optedIn(), name, false})
		}
	}
	return all
}

// selectors asks the entries about examples, and about the namespaces that are there:
// whatever way they are written, they have to say what the configuration says.
func selectors(f *Facts, r *Installed) []Finding {
	report := report{subject: r.String()}
	if f.Mutating.Err != nil || r.Config == nil {
		report.add(Unknown, "the selectors were not compared with the configuration, which or they could not be read")
		return report.findings
	}
	entries := f.mutating(r)
	if len(entries) == 0 {
		return report.findings // which is a finding of its own
	}
	if f.Namespaces.Err != nil {
		report.add(Unknown, "the selectors were tried on examples alone, since the Namespaces could not be read")
	}
	examples := r.examples()
	for n := range f.Namespaces.Value {
		if ns := &f.Namespaces.Value[n]; r.Claims(ns) {
			examples = append(examples, example{"namespace " + ns.Name, ns.Labels, ns.Name, true})
		}
	}
	for _, e := range examples {
		ns := corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: e.name, Labels: e.labels}}
		pod := map[string]string{r.Config.OptIn.Label: r.Config.OptIn.Value}
		taking := f.Selecting(r, &ns, pod)
		switch {
		case e.taken && len(taking) == 0:
			report.problem("no entry takes the pods of %s", e.what)
		case !e.taken && len(taking) > 0:
			report.problem("%s takes the pods of %s, which the configuration does not mean", strings.Join(taking, ", "), e.what)
		case len(taking) > 1:
			report.problem("%s all take the pods of %s", strings.Join(taking, ", "), e.what)
		}
	}
	return report.findings
}

// Claims says whether a namespace has opted in for this release.
func (r *Installed) Claims(ns *corev1.Namespace) bool {
	if r.Config == nil || ns.Labels[r.Config.OptIn.Label] != r.Config.OptIn.Value || r.excludes(ns.Name) != "" {
		return false
	}
	revision, labelled := ns.Labels[v1alpha1.RevisionLabel]
	return revision == r.Config.Revision && (!labelled || revision != "")
}

// excludes is the pattern that excludes a namespace, empty where none does.
func (r *Installed) excludes(name string) string {
	for _, pattern := range slices.Concat([]string{"kube-system", "kube-node-lease"}, r.Config.ExcludedNamespaces) {
		if v1alpha1.MatchNamespace(pattern, name) {
			return pattern
		}
	}
	return ""
}

// clashes are releases that answer for the same pods.
func clashes(f *Facts) []Finding {
	var report report
	if f.Mutating.Err != nil {
		report.unseen("the MutatingWebhookConfigurations", f.Mutating.Err)
		return report.findings
	}
	releases := f.Releases.Value
	for n := range releases {
		for m := n + 1; m < len(releases); m++ {
			if shared := f.shared(&releases[n], &releases[m]); shared != "" {
				report.problem("%s and %s both take the pods of %s", &releases[n], &releases[m], shared)
			}
		}
	}
	return report.findings
}

// shared is a namespace whose pods both releases take.
func (f *Facts) shared(a, b *Installed) string {
	if a.Config == nil || b.Config == nil {
		return ""
	}
	candidates := slices.Clone(f.Namespaces.Value)
	for _, r := range []*Installed{a, b} {
		e := r.examples()[0]
		candidates = append(candidates, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: e.what, Labels: e.labels}})
	}
	for n := range candidates {
		pod := map[string]string{a.Config.OptIn.Label: a.Config.OptIn.Value, b.Config.OptIn.Label: b.Config.OptIn.Value}
		if len(f.Selecting(a, &candidates[n], pod)) > 0 && len(f.Selecting(b, &candidates[n], pod)) > 0 {
			return candidates[n].Name
		}
	}
	return ""
}

// leftovers are configurations of ours that call a Service of no release.
func leftovers(f *Facts) []Finding {
	var report report
	if f.Mutating.Err != nil {
		report.unseen("the MutatingWebhookConfigurations", f.Mutating.Err)
		return report.findings
	}
	if f.Releases.Err != nil {
		report.add(Unknown, "the releases are not known")
		return report.findings
	}
	for _, configuration := range f.Mutating.Value {
		for n := range configuration.Webhooks {
			w := &configuration.Webhooks[n]
			service := w.ClientConfig.Service
			if configuration.Labels["app.kubernetes.io/name"] != "pillion" || service == nil || f.known(service.Namespace, service.Name) {
				continue
			}
			report.subject = "MutatingWebhookConfiguration " + configuration.Name
			report.problem("%s calls Service %s/%s, and there is no release of that name", w.Name, service.Namespace, service.Name)
		}
	}
	return report.findings
}

func (f *Facts) known(namespace, name string) bool {
	return slices.ContainsFunc(f.Releases.Value, func(r Installed) bool { return r.Namespace == namespace && r.Name == name })
}

// laterWebhooks are those that change pods after ours: kube-apiserver calls
// configurations in the order of their names.
func laterWebhooks(f *Facts, r *Installed) []Finding {
	report := report{subject: r.String()}
	if f.Mutating.Err != nil {
		report.unseen("the MutatingWebhookConfigurations", f.Mutating.Err)
		return report.findings
	}
	ours := ""
	for _, e := range f.mutating(r) {
		ours = e.configuration
	}
	for _, configuration := range f.Mutating.Value {
		for n := range configuration.Webhooks {
			w := &configuration.Webhooks[n]
			s := w.ClientConfig.Service
			if ours == "" || configuration.Name <= ours || s != nil && f.known(s.Namespace, s.Name) || !touchesPods(w.Rules) || !f.reachesOurs(r, w) {
				continue
			}
			report.notice("%s/%s changes pods after %s", configuration.Name, w.Name, ours)
		}
	}
	return report.findings
}

// reachesOurs says whether another webhook takes a pod that opted in.
func (f *Facts) reachesOurs(r *Installed, w *admissionv1.MutatingWebhook) bool {
	if r.Config == nil {
		return true
	}
	if !selects(w.ObjectSelector, map[string]string{r.Config.OptIn.Label: r.Config.OptIn.Value}) {
		return false
	}
	example := r.examples()[0]
	candidates := append(slices.Clone(f.Namespaces.Value), corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: example.name, Labels: example.labels}})
	return slices.ContainsFunc(candidates, func(ns corev1.Namespace) bool {
		return r.Claims(&ns) && selects(w.NamespaceSelector, namespaceLabels(&ns))
	})
}

// nothingInjected are namespaces with the label whose pods get no sidecar anyhow.
func nothingInjected(f *Facts) []Finding {
	var report report
	if f.Namespaces.Err != nil {
		report.unseen("the Namespaces", f.Namespaces.Err)
		return report.findings
	}
	for n := range f.Namespaces.Value {
		ns := &f.Namespaces.Value[n]
		if why := f.whyNothing(ns); why != "" {
			report.subject = "namespace " + ns.Name
			report.problem("it has the opt-in label, and its pods get no sidecar: %s", why)
		}
	}
	return report.findings
}

// whyNothing is empty where a release claims a namespace or none is meant to.
func (f *Facts) whyNothing(ns *corev1.Namespace) string {
	why := ""
	for n := range f.Releases.Value {
		r := &f.Releases.Value[n]
		if r.Config == nil {
			continue
		}
		value, labelled := ns.Labels[r.Config.OptIn.Label]
		switch {
		case r.Claims(ns):
			return ""
		case !labelled || value == "false":
		case value != r.Config.OptIn.Value:
			why = fmt.Sprintf("label %s is %q, and only %q opts in", r.Config.OptIn.Label, value, r.Config.OptIn.Value)
		case r.excludes(ns.Name) != "":
			why = fmt.Sprintf("it is excluded by the configuration of %s (%s)", r, r.excludes(ns.Name))
		case why == "":
			why = fmt.Sprintf("label %s is %q, and no release has this revision", v1alpha1.RevisionLabel, ns.Labels[v1alpha1.RevisionLabel])
		}
	}
	return why
}
