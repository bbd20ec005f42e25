package preflight

import (
	"errors"
	"fmt"
)

// Level says how much a finding weighs.
type Level string

// The levels of a finding.
const (
	// Problem: something does not work, or will not.
	Problem Level = "problem"
	// Notice: it works, and somebody should know about it.
	Notice Level = "notice"
	// Unknown: it could not be looked at, so nothing is known about it.
	Unknown Level = "unknown"
)

// Finding is one thing that a check has to say.
type Finding struct {
	Level Level
	// Subject is what it is about, as "release pillion-system/pillion" or "namespace shop".
	Subject string
	// Message is a sentence about it.
	Message string
	// Hint is what to do about this one, where the check's own hint does not say it.
	Hint string
}

// Result is what a check found; no findings are good news.
type Result struct {
	Check    *Check
	Findings []Finding
}

// Level is that of the weightiest finding; empty where there is none.
func (r *Result) Level() Level {
	var level Level
	for _, f := range r.Findings {
		switch {
		case f.Level == Problem:
			return Problem
		case level != Unknown:
			level = f.Level
		}
	}
	return level
}

// Category groups checks by what they are about.
type Category string

// The categories, in the order of the way of a request.
const (
	Release     Category = "release"
	Webhook     Category = "webhook"
	Certificate Category = "certificate"
	Call        Category = "call"
	Namespaces  Category = "namespaces"
)

// Check is one thing that is looked at.
type Check struct {
	// ID is stable: it never gets another meaning.
	ID       string
	Category Category
	// Holds is the sentence that is true where there are no findings.
	Holds string
	// Meaning says what it means where it does not hold.
	Meaning string
	// Hint says what to do then.
	Hint string

	// One of the three: about the cluster, about each release, about each namespace
	// that was asked for.
	cluster   func(*Facts) []Finding
	release   func(*Facts, *Installed) []Finding
	namespace func(*Facts, *Namespace) []Finding
}

// Run makes all checks that concern the facts, in the order of Checks. Those of
// namespaces are left out where none was asked for.
func Run(f *Facts) []Result {
	var results []Result
	all := Checks()
	for n := range all {
		check := &all[n]
		if check.namespace != nil && len(f.Asked) == 0 {
			continue
		}
		results = append(results, Result{check, check.run(f)})
	}
	return results
}

func (c *Check) run(f *Facts) []Finding {
	if c.cluster != nil {
		return c.cluster(f)
	}
	if len(f.Releases.Value) == 0 {
		return []Finding{{Level: Unknown, Message: "no release was found to look at"}}
	}
	var findings []Finding
	if c.release != nil {
		for n := range f.Releases.Value {
			findings = append(findings, c.release(f, &f.Releases.Value[n])...)
		}
		return findings
	}
	for n := range f.Asked {
		findings = append(findings, c.namespace(f, &f.Asked[n])...)
	}
	return findings
}

// Problems counts the findings that have to be corrected.
func Problems(results []Result) (count int) {
	for _, r := range results {
		for _, f := range r.Findings {
			if f.Level == Problem {
				count++
			}
		}
	}
	return count
}

// Unseen says what could not be read of that without which the checks say nothing of
// the installation as a whole; nil where all of it was.
func (f *Facts) Unseen() error {
	var unseen []error
	for _, part := range []struct {
		what string
		err  error
	}{
		{"the webhook's ConfigMap, in all namespaces", f.Releases.Err},
		{"the MutatingWebhookConfigurations", f.Mutating.Err},
		{"the ValidatingWebhookConfigurations", f.Validating.Err},
		{"the Namespaces", f.Namespaces.Err},
	} {
		if part.err != nil {
			unseen = append(unseen, fmt.Errorf("%s: %w", part.what, part.err))
		}
	}
	return errors.Join(unseen...)
}

// report collects findings about one subject.
type report struct {
	subject  string
	findings []Finding
}

func (r *report) add(level Level, format string, args ...any) {
	r.findings = append(r.findings, Finding{Level: level, Subject: r.subject, Message: fmt.Sprintf(format, args...)})
}

func (r *report) problem(format string, args ...any) { r.add(Problem, format, args...) }
func (r *report) notice(format string, args ...any)  { r.add(Notice, format, args...) }

// unseen says that something was not looked at, and why.
func (r *report) unseen(what string, err error) { r.add(Unknown, "%s: not looked at: %v", what, err) }

// hint is about the finding that was added last.
func (r *report) hint(format string, args ...any) {
	r.findings[len(r.findings)-1].Hint = fmt.Sprintf(format, args...)
}
