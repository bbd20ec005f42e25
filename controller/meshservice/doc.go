// Package meshservice brings each MeshService to the pods of its service, and says in its
// status how far it has come.
//
// On the leader, for each MeshService that changed, or whose ConfigMap or pods did:
//
//	decode, default, validate            -> condition Accepted
//	render                               -> a generation
//	store it in a ConfigMap beside it    -> condition Rendered
//	count what the pods said             -> condition Applied
//
// kubelet carries the ConfigMap to the pods; nothing is sent to them. What runs there is asked
// for: every Interval, GET /status of the sidecars that may have something new to say, with
// bounds on how many at once, how often, how long and how much (survey.go, ask.go).
//
// What is there is read and compared, and only a difference is written. So a controller that
// starts again writes nothing, and one that was away misses nothing. Nothing of somebody
// else's is overwritten. A document that is not valid leaves in force what was rendered last.
package meshservice
