// Package webhook answers kube-apiserver's questions: what is to be changed in this
// new pod, what should the owner of this workload know, and is this MeshService valid?
//
// The way of one request, from top to bottom:
//
//	POST /mutate -> read the body -> decode the AdmissionReview, the pod within it
//	-> one atomic load of the Injector -> Inject -> check the patch
//	-> answer: one response, one metric, one log line
//
//	POST /validate-workload: the same, with a workload, and Review in place of the
//	patch; the answer is `allowed: true` and warnings
//
//	POST /validate-meshservice: the same, with a MeshService, which v1alpha1 decodes and
//	validates; no Injector is asked
//
// There is no disk access, no lock and no API call on it. What the Injector comes
// from (the configuration file) and what the connections are secured with (the
// certificate) are polled aside and swapped in whole; a file that cannot be used
// leaves the last good one in force.
//
// Whatever goes wrong on our side is answered with HTTP 500 or 503, never with
// `allowed: false`: then the failurePolicy decides about the pod, which it
// does not for what we refuse: a pod or a MeshService with a mistake in it. Workloads
// are never refused.
package webhook
