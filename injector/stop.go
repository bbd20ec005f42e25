package injector

import (
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// defaultGracePeriod is Kubernetes' terminationGracePeriodSeconds.
const defaultGracePeriod = 30 * time.Second

const gracePeriodPath = "spec.terminationGracePeriodSeconds"

// stopEdits makes the pod's end hold the sidecar's schedule: app containers
// without a preStop hook get a sleep, so that none of them is gone while clients
// still come, and terminationGracePeriodSeconds is raised to hold it all.
func (i *Injector) stopEdits(v *view, s *Sidecar, to *edits) []Warning {
	original, written := v.originalGracePeriod()
	if original < 0 {
		return nil // kube-apiserver is about to refuse the pod for it
	}
	sleepers := v.withoutPreStop()
	var warnings []Warning
	sleep := s.Drain.AppSleep()
	switch {
	case len(sleepers) == 0 || sleep == 0 || v.meantToEnd():
		sleepers = nil
	case s.AppPreStop == v1alpha1.AppPreStopNone || !i.cluster.atLeast(sleepActionMinor):
		warnings = append(warnings, Warning{ReasonNoPreStop, fmt.Sprintf("container %s has no preStop hook: it ends %s before its clients have gone; add one that sleeps %s",
			sleepers[0].Name, durationText(sleep), durationText(sleep))})
		sleepers = nil
	}

	needed := s.Drain.GracePeriod(original, len(sleepers) > 0)
	granted := original
	if needed > original {
		schedule := durationText(s.Drain.DrainTime) + " drain"
		if s.Drain.PreDrainDelay > 0 {
			schedule = durationText(s.Drain.PreDrainDelay) + " pre-drain delay and " + schedule
		}
		if s.GracePeriod == v1alpha1.GracePeriodRaise {
			granted = needed
			warnings = append(warnings, Warning{ReasonGracePeriodRaised, fmt.Sprintf("terminationGracePeriodSeconds raised from %d to %d to hold %s",
				wholeSeconds(original), wholeSeconds(needed), schedule)})
		} else {
			warnings = append(warnings, Warning{ReasonGracePeriodShort, fmt.Sprintf("terminationGracePeriodSeconds is %d, and %d is needed to hold %s: requests will be lost",
				wholeSeconds(original), wholeSeconds(needed), schedule)})
			// kube-apiserver refuses a sleep above the grace period.
			sleep = min(sleep, original)
		}
	}
	if granted != original {
		v.setGracePeriod(written, granted, to)
	}
	for _, c := range sleepers {
		if sleep > 0 {
			c.setSleep(sleep, to)
		}
	}
	return warnings
}

// meantToEnd says whether the pod runs to completion, as a Job's does. Nobody
// finds such a pod by name, so it need not linger for clients.
func (v *view) meantToEnd() bool {
	return v.pod.Spec.RestartPolicy == "Never" || v.pod.Spec.RestartPolicy == "OnFailure"
}

// originalGracePeriod is what the pod's owner gave, or Kubernetes by default; and
// what they wrote, null for nothing.
func (v *view) originalGracePeriod() (time.Duration, jsontext.Value) {
	current := v.pod.Spec.TerminationGracePeriodSeconds
	if current == nil {
		return defaultGracePeriod, null()
	}
	written := jsontext.Value(strconv.AppendInt(nil, *current, 10))
	if c, ok := v.changed[gracePeriodPath]; ok && string(c.To) == string(written) {
		written = c.From
	}
	n, err := strconv.ParseInt(string(written), 10, 64)
	if err != nil {
		return defaultGracePeriod, null()
	}
	return clampSeconds(n), written
}

// clampSeconds keeps an owner's number of seconds from overflowing a duration.
func clampSeconds(n int64) time.Duration {
	return time.Duration(min(max(n, -1), int64(1000*24*time.Hour/time.Second))) * time.Second
}

func (v *view) setGracePeriod(written jsontext.Value, granted time.Duration, to *edits) {
	value := jsontext.Value(strconv.AppendInt(nil, wholeSeconds(granted), 10))
	to.record(gracePeriodPath, written, value)
	switch current := v.pod.Spec.TerminationGracePeriodSeconds; {
	case current == nil:
		to.add("/spec/terminationGracePeriodSeconds", value)
	case *current != wholeSeconds(granted):
		to.replace("/spec/terminationGracePeriodSeconds", value)
	}
}

func wholeSeconds(d time.Duration) int64 { return int64(d / time.Second) }

// sleeper is an app container without a preStop hook of its own.
type sleeper struct {
	container
	// current is the sleep that an earlier pass gave it.
	current int64
}

func (c container) preStopPath() string { return c.name() + ".lifecycle.preStop" }

func (v *view) withoutPreStop() []sleeper {
	var found []sleeper
	for _, c := range v.containers {
		if c.init {
			// Native sidecars get their SIGTERM after the app has ended.
			continue
		}
		if c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
			found = append(found, sleeper{container: c})
			continue
		}
		sleep := c.Lifecycle.PreStop.Sleep
		change, ours := v.changed[c.preStopPath()]
		if ours && sleep != nil && string(change.To) == string(sleepValue(sleep.Seconds)) {
			found = append(found, sleeper{c, sleep.Seconds})
		}
	}
	return found
}

func sleepValue(n int64) jsontext.Value {
	return append(strconv.AppendInt(jsontext.Value(`{"sleep":{"seconds":`), n, 10), "}}"...)
}

func (c sleeper) setSleep(d time.Duration, to *edits) {
	value := sleepValue(wholeSeconds(d))
	to.record(c.preStopPath(), null(), value)
	switch {
	case c.current == wholeSeconds(d):
	case c.Lifecycle == nil:
		hook := append(append(jsontext.Value(`{"preStop":`), value...), '}')
		to.add(c.pointer()+"/lifecycle", hook)
	default:
		to.add(c.pointer()+"/lifecycle/preStop", value)
	}
}

// drainOf is the sidecar's schedule. A pod that is meant to end has no clients to
// wait for: kubelet runs the sidecar's preStop hook when the app has ended, and a
// delay there would hold up every Job.
func drainOf(v *view, s *settings) lifecycle.Drain {
	if v.meantToEnd() && s.preDrainDelay.source.Level != LevelPod {
		s.preDrainDelay = setting[time.Duration]{0, computed("restartPolicy " + v.pod.Spec.RestartPolicy + ": nobody waits for a pod that is meant to end")}
	}
	return lifecycle.Drain{PreDrainDelay: s.preDrainDelay.value, DrainTime: s.drainTime.value}
}
