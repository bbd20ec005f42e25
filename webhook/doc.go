// Package webhook answers kube-apiserver's question about each new pod: what is
// to be changed in it?
//
// The way of one request, from top to bottom:
//
//	POST /mutate -> read the body -> decode the AdmissionReview, the pod within it
//	-> one atomic load of the Injector -> Inject -> check the patch
//	-> answer: one response, one metric, one log line
//
// There is no disk access, no lock and no API call on it. What the Injector comes
// from (the configuration file) and what the connections are secured with (the
// certificate) are polled aside and swapped in whole; a file that cannot be used
// leaves the last good one in force.
//
// Whatever goes wrong on our side is answered with HTTP 500 or 503, never with
// `allowed: false`: then the failurePolicy decides about the pod, which it
// does not for a pod that we refuse.
package webhook
