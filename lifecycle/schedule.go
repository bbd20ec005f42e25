package lifecycle

import "time"

// stopMargin is what the schedule leaves for Envoy to exit once it has drained.
const stopMargin = 5 * time.Second

// AppSleep is how long an app container has to stay when the pod stops: kubelet
// runs the preStop hooks of all containers at once, and an app that ends before
// the sidecar has drained is gone while clients still come.
func (d Drain) AppSleep() time.Duration { return d.PreDrainDelay + d.DrainTime }

// GracePeriod is the terminationGracePeriodSeconds that holds the schedule, given
// the pod's own:
//
//	0        PreDrainDelay      +DrainTime         +original
//	|- serving as before -|- draining inbound -|- the app shuts down -|
//
// An app that was given a sleep of AppSleep keeps its whole original time for
// shutting down behind it. One with a preStop hook of its own has counted that in
// already, so only the sidecar has to fit. The result is never below original.
func (d Drain) GracePeriod(original time.Duration, sleepAdded bool) time.Duration {
	if sleepAdded {
		return d.AppSleep() + original
	}
	return max(original, d.AppSleep()+stopMargin)
}
