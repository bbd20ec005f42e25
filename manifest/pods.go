package manifest

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// podPaths are where pods are in a kind of Kubernetes' own. A group without a dot is
// Kubernetes': those of others must have one. A Job of Volcano is not like a Job.
func podPaths(apiVersion, kind string) (paths [][]string, known bool) {
	group, _, _ := strings.Cut(apiVersion, "/")
	if strings.Contains(group, ".") {
		return nil, false
	}
	switch kind {
	case "Pod":
		return [][]string{{}}, true
	case "PodTemplate":
		return [][]string{{"template"}}, true
	case "CronJob":
		return [][]string{{"spec", "jobTemplate", "spec", "template"}}, true
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job":
		return [][]string{{"spec", "template"}}, true
	}
	// No other kind of Kubernetes makes pods: a ControllerRevision only remembers some.
	return nil, apiVersion != ""
}

func (o *Object) findPods(raw jsontext.Value) *Error {
	paths, known := podPaths(o.APIVersion, o.Kind)
	if !known {
		paths = o.templates(raw)
	}
	for _, path := range paths {
		pod := member(raw, path...)
		if pod.Kind() != '{' {
			continue
		}
		pointer := slices.Concat(o.pointer, path)
		if err := o.doc.checkText(pod, pointer); err != nil {
			return err
		}
		o.Pods = append(o.Pods, &Pod{Path: fieldPath(pointer), JSON: pod, object: o, pointer: pointer})
	}
	return nil
}

// templates are where a kind that is not known has its pod templates, in the order of
// the lines: there are kinds with one, as a Rollout, and with many, as a RayCluster.
func (o *Object) templates(raw jsontext.Value) [][]string {
	found := templatesIn(raw, nil)
	// What a controller reports makes no pods.
	found = slices.DeleteFunc(found, func(path []string) bool { return path[0] == "status" })
	slices.SortStableFunc(found, func(a, b []string) int {
		return o.doc.lineOf(slices.Concat(o.pointer, a)) - o.doc.lineOf(slices.Concat(o.pointer, b))
	})
	return found
}

func templatesIn(raw jsontext.Value, path []string) [][]string {
	// A manifest may be long: nothing is taken apart for nothing.
	if !bytes.Contains(raw, []byte(`"containers"`)) {
		return nil
	}
	var found [][]string
	for n, item := range items(raw) {
		found = append(found, templatesIn(item, slices.Concat(path, []string{strconv.Itoa(n)}))...)
	}
	fields := fields(raw)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		below := slices.Concat(path, []string{name})
		if namesTemplate(name) && isPod(fields[name]) {
			found = append(found, below)
			continue
		}
		found = append(found, templatesIn(fields[name], below)...)
	}
	return found
}

// namesTemplate says whether a field may have a pod template: as template, or
// workerTemplate.
func namesTemplate(name string) bool {
	return name == "template" || strings.HasSuffix(name, "Template")
}

// isPod tells a pod template by containers with names: what else is called a template
// has none.
func isPod(template jsontext.Value) bool {
	return slices.ContainsFunc(items(member(template, "spec", "containers")), func(container jsontext.Value) bool {
		return member(container, "name").Kind() == '"'
	})
}

// member is a value in an object or list; nil where it is not there.
func member(raw jsontext.Value, path ...string) jsontext.Value {
	for _, name := range path {
		if n, err := strconv.Atoi(name); err == nil && raw.Kind() == '[' {
			if list := items(raw); n < len(list) {
				raw = list[n]
				continue
			}
		}
		raw = fields(raw)[name]
	}
	return raw
}

// fields of an object; nil where it is none.
func fields(raw jsontext.Value) (of map[string]jsontext.Value) {
	if raw.Kind() != '{' || json.Unmarshal(raw, &of, jsontext.AllowDuplicateNames(true)) != nil {
		return nil
	}
	return of
}

// items of a list; nil where it is none.
func items(raw jsontext.Value) (of []jsontext.Value) {
	if raw.Kind() != '[' || json.Unmarshal(raw, &of, jsontext.AllowDuplicateNames(true)) != nil {
		return nil
	}
	return of
}
