package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pillion-mesh/pillion/preflight"
)

// checksPage is where every check is described.
const checksPageURL = "https://github.com/pillion-mesh/pillion/blob/main/docs/reference/checks.md#"

// checkOptions are the flags of check.
type checkOptions struct {
	cluster
	all, noDryRun bool
	wait          time.Duration
}

func (p *program) checkCommand(invocation string) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Tell whether an installation works, and what would go wrong in a namespace",
		Long: "Tell whether an installation works: the release, the webhook configurations, the\n" +
			"certificate, and whether kube-apiserver gets a pod injected, and if not, in which phase it\n" +
			"fails. With -n also what would go wrong in a namespace, be it before or after it opts in.\n\n" +
			"It changes nothing: it reads with your own rights, and asks for pods to be created as dry runs,\n" +
			"of which nothing is stored. What your rights do not let it see it says; it is never taken to be well.\n\n" +
			"Of the findings only problems count for the exit status. Where there is none, and the releases, the\n" +
			"webhook configurations or the namespaces could not be read, it ends with 2.\n\n" + exitHelp,
		Example: examples(invocation,
			"check", "the installation",
			"check -n shop", "and a namespace, before it opts in",
			"check --wait 2m", "until all is well, behind an installation"),
		Args: cobra.NoArgs,
	}
	o.addFlags(cmd)
	cmd.Flags().Lookup("namespace").Usage = "also check the `namespace` (default: the installation alone)"
	cmd.Flags().BoolVarP(&o.all, "all-namespaces", "A", false, "also check all namespaces that opted in")
	cmd.Flags().BoolVar(&o.noDryRun, "no-dry-run", false, "do not ask for pods to be created as dry runs; what only they show is then not known")
	cmd.Flags().DurationVar(&o.wait, "wait", 0, "check again until there is no problem and nothing is hidden, for as long as this `duration`, as 2m")
	cmd.MarkFlagsMutuallyExclusive("namespace", "all-namespaces")
	output := addOutput(cmd, "`format`: table or json", "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := output.check(); err != nil {
			return err
		}
		return p.check(cmd.Context(), &o, output.format)
	}
	return cmd
}

func (p *program) check(ctx context.Context, o *checkOptions, format string) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	facts, results, err := c.checkUntilWell(ctx, o, p.now)
	if err != nil {
		return err
	}
	if format == "json" {
		err = writeJSON(p.out, viewResults(results))
	} else {
		err = p.printResults(results)
	}
	if problems := preflight.Problems(results); err == nil && problems > 0 {
		return findings{fmt.Errorf("%d problems were found", problems)}
	}
	if unseen := facts.Unseen(); err == nil && unseen != nil {
		return fmt.Errorf("nothing is known of the installation without what could not be read (it takes the right to list it):\n%w", unseen)
	}
	return err
}

// checkUntilWell checks once, or until all was seen and there is no problem, or the wait
// is over.
func (c *connection) checkUntilWell(ctx context.Context, o *checkOptions, started time.Time) (facts *preflight.Facts, results []preflight.Result, err error) {
	const pause = 2 * time.Second
	begun := time.Now()
	once := func(ctx context.Context) (bool, error) {
		// The time of the program, which a test may set, and what has passed since.
		var failed error
		facts, failed = c.facts(ctx, started.Add(time.Since(begun)), !o.noDryRun)
		if failed == nil && (o.all || o.namespace != "") {
			failed = c.askAbout(ctx, facts, o.namespace, !o.noDryRun)
		}
		if err = failed; err != nil {
			return false, nil //nolint:nilerr // an API server that does not answer yet is one to wait for
		}
		results = preflight.Run(facts)
		return preflight.Problems(results) == 0 && facts.Unseen() == nil, nil
	}
	if well, _ := once(ctx); !well && o.wait > 0 {
		// That it took too long is seen in the results.
		_ = wait.PollUntilContextTimeout(ctx, pause, o.wait, false, once)
	}
	return facts, results, err
}

// resultView is a check in JSON.
type resultView struct {
	ID       string        `json:"id"`
	Category string        `json:"category"`
	Holds    string        `json:"holds"`
	Result   string        `json:"result"`
	Findings []findingView `json:"findings,omitempty"`
	Docs     string        `json:"docs"`
}

type findingView struct {
	Level   string `json:"level"`
	Subject string `json:"subject,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

func viewResults(results []preflight.Result) []resultView {
	views := make([]resultView, 0, len(results))
	for _, r := range results {
		view := resultView{ID: r.Check.ID, Category: string(r.Check.Category), Holds: r.Check.Holds, Result: "ok", Docs: checksPageURL + r.Check.Anchor()}
		if level := r.Level(); level != "" {
			view.Result = string(level)
		}
		for _, f := range r.Findings {
			hint := f.Hint
			if hint == "" {
				hint = r.Check.Hint
			}
			view.Findings = append(view.Findings, findingView{string(f.Level), f.Subject, f.Message, hint})
		}
		views = append(views, view)
	}
	return views
}

// printResults prints one line for each check, and what it found below it.
func (p *program) printResults(results []preflight.Result) error {
	var text strings.Builder
	category := ""
	for _, view := range viewResults(results) {
		if view.Category != category {
			category = view.Category
			fmt.Fprintf(&text, "%s\n", category)
		}
		fmt.Fprintf(&text, "  %-8s %-24s %s\n", p.colored(view.Result), view.ID, view.Holds)
		hinted := ""
		for _, f := range view.Findings {
			fmt.Fprintf(&text, "           %s\n", strings.TrimPrefix(f.Subject+": "+f.Message, ": "))
			if f.Hint != hinted && f.Level != string(preflight.Unknown) {
				hinted = f.Hint
				fmt.Fprintf(&text, "             -> %s\n", f.Hint)
			}
		}
		if view.Result == string(preflight.Problem) {
			fmt.Fprintf(&text, "             %s\n", view.Docs)
		}
	}
	_, err := fmt.Fprint(p.out, text.String())
	return err
}

// colored is a result in its color, at the width of its column.
func (p *program) colored(result string) string {
	padded := fmt.Sprintf("%-8s", result)
	if !p.color {
		return padded
	}
	code := map[string]string{"ok": "32", string(preflight.Problem): "31"}[result]
	if code == "" {
		code = "33"
	}
	return "\x1b[" + code + "m" + padded + "\x1b[0m"
}

// checksPage is the reference page of the checks.
func checksPage() string {
	var page strings.Builder
	page.WriteString(generated + "# Checks\n\n" +
		"What `pillionctl check` looks at. An id never gets another meaning. A finding is a `problem`, which has to\n" +
		"be corrected; a `notice`, which somebody should know about; or `unknown`, which could not be looked at.\n" +
		"Only problems make the command end with 1. Without any it ends with 2 where the webhooks' ConfigMaps, the webhook configurations or the\n" +
		"namespaces could not be read, and with 0 otherwise.\n")
	category := preflight.Category("")
	for _, c := range preflight.Checks() {
		if c.Category != category {
			category = c.Category
			fmt.Fprintf(&page, "\n## %s\n", category)
		}
		fmt.Fprintf(&page, "\n### <a id=\"%s\"></a>%s\n\nHolds: %s.\n\nIf not: %s\n\nWhat to do: %s\n",
			c.Anchor(), c.ID, markdown(c.Holds), markdown(c.Meaning), markdown(c.Hint))
	}
	return page.String()
}
