package main

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"github.com/pillion-mesh/pillion/injector"
)

// printAccounts prints for people.
func (p *program) printAccounts(accounts []account) error {
	for n := range accounts {
		var out bytes.Buffer
		if n > 0 {
			out.WriteByte('\n')
		}
		if err := p.account(&out, &accounts[n]); err != nil {
			return err
		}
		if _, err := p.out.Write(out.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) account(out *bytes.Buffer, a *account) error {
	fmt.Fprintf(out, "%s\n", p.paint("1", fmt.Sprintf("%s %s/%s", a.Kind, a.Namespace, cmp.Or(a.Name, "(no name)"))))
	if a.Cluster == nil {
		fmt.Fprintln(out, strings.TrimSuffix(fmt.Sprintf("%s:%d, %s", a.File, a.Line, a.Path), ", "))
	} else if err := writeTable(out, "", a.Cluster.rows()); err != nil {
		return err
	}
	fmt.Fprintln(out)
	fmt.Fprintf(out, "%s %s %s\n  %s\n", p.paint(verdictColor(a.Verdict), a.Verdict), a.Code, a.Reason, a.Meaning)
	if len(a.Errors) == 0 {
		fmt.Fprintf(out, "  Here: %s\n", sentence(a.Message))
	}
	for _, e := range a.Errors {
		fmt.Fprintf(out, "  %s: %s: %s\n", e.Place, e.Path, e.Message)
	}
	fmt.Fprintf(out, "  To change it: %s\n", a.Remedy)
	for _, w := range a.Warnings {
		fmt.Fprintf(out, "\n%s %s %s\n  %s\n  To change it: %s\n", p.paint("33", "warning"), w.Code, w.Reason, sentence(w.Message), w.Remedy)
	}
	for _, hint := range a.Hints {
		fmt.Fprintf(out, "\n%s %s\n", p.paint("33", "hint"), hint)
	}
	for _, section := range a.sections() {
		if len(section.rows) < 2 {
			continue
		}
		fmt.Fprintf(out, "\n%s\n", p.paint("1", section.title))
		if err := writeTable(out, "  ", section.rows); err != nil {
			return err
		}
	}
	if len(a.Ports) > 0 {
		fmt.Fprintf(out, "\n%s\n", p.paint("1", "Reserved ports, which bypass Envoy"))
		writePorts(out, a.Ports)
	}
	return nil
}

// sentence ends with a full stop, unless it ends already.
func sentence(text string) string {
	if strings.HasSuffix(text, ".") || strings.HasSuffix(text, "?") {
		return text
	}
	return text + "."
}

// writePorts prints ports by what they have in common: there are many, for few
// reasons.
func writePorts(out *bytes.Buffer, ports []portLine) {
	type group struct{ direction, from, why string }
	var order []group
	members := map[group][]string{}
	for _, port := range ports {
		g := group{port.Direction, port.From, port.why()}
		if members[g] == nil {
			order = append(order, g)
		}
		members[g] = append(members[g], strings.TrimSpace(port.Ports+" "+port.Protocol))
	}
	for _, g := range order {
		fmt.Fprintf(out, "  %s, from %s: %s\n", g.direction, g.from, cmp.Or(g.why, "no reason was given"))
		writeWrapped(out, "    ", members[g], "; ")
	}
}

// writeWrapped prints items in lines of a width that a terminal has.
func writeWrapped(out *bytes.Buffer, indent string, items []string, between string) {
	const width = 96
	line := indent
	for n, item := range items {
		if n < len(items)-1 {
			item += between
		}
		if len(line)+len(item) > width && line != indent {
			fmt.Fprintln(out, strings.TrimRight(line, " "))
			line = indent
		}
		line += item
	}
	fmt.Fprintln(out, line)
}

func verdictColor(verdict string) string {
	switch injector.Verdict(verdict) {
	case injector.Inject:
		return "32"
	case injector.Refuse:
		return "31"
	}
	return "33"
}

// paint colors a piece of text, where colors are wanted.
func (p *program) paint(code, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// section is a table with a title; its first row is the header.
type section struct {
	title string
	rows  [][]string
}

func (a *account) sections() []section {
	values := section{"Values", [][]string{{"PATH", "VALUE", "FROM"}}}
	for _, v := range a.Values {
		values.rows = append(values.rows, []string{v.Path, v.Value, v.From})
	}
	rules := section{"Redirect rules, in the pod's own network", [][]string{{"RULE", "WHY"}}}
	for _, r := range a.Rules {
		rules.rows = append(rules.rows, []string{abbreviate(r.Rule), r.Comment})
	}
	stop := section{"When the pod stops", [][]string{{"AFTER", "WHAT"}}}
	for _, step := range a.Shutdown {
		stop.rows = append(stop.rows, []string{step.After, step.What})
	}
	changes := section{"Added and changed", [][]string{{"WHAT", "BEFORE", "AFTER"}}}
	for _, added := range a.Added {
		changes.rows = append(changes.rows, []string{added, "", "(added)"})
	}
	for _, c := range a.Changed {
		changes.rows = append(changes.rows, []string{c.Path, string(c.From), string(c.To)})
	}
	return []section{values, stop, changes, rules}
}

// abbreviate leaves most of a rule's ports out: they stand below with their reasons.
func abbreviate(rule string) string {
	const most = 6
	match, verdict, _ := strings.Cut(rule, ": ")
	items := strings.Split(match, ", ")
	if len(items) <= most {
		return rule
	}
	return fmt.Sprintf("%s and %d more: %s", strings.Join(items[:most-1], ", "), len(items)-most+1, verdict)
}

// why is the reason for a port, with who answers for it.
func (l portLine) why() string {
	parts := []string{}
	if l.Reason != "" {
		parts = append(parts, l.Reason)
	}
	if l.Owner != "" {
		parts = append(parts, "owner "+l.Owner)
	}
	if l.Expires != "" {
		parts = append(parts, "until "+l.Expires)
	}
	return strings.Join(parts, "; ")
}
