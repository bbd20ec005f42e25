// Package auditor looks at the pods that exist, says which of them asked for a sidecar
// and have none that works, and has them made anew where that was asked for.
//
// One pass, every interval, on the leader:
//
//	read the configuration, the same document as the webhook's
//	-> go through the pods that opted in, a page at a time; injector.Audit judges each
//	-> count them, and keep those that were missed or damaged, by what made them
//	-> an Event for each workload that has some
//	-> evictions: within budgets, at a rate, and only while they help
//
// No pod is kept: memory goes with a page and with what was found, not with the number of
// pods.
package auditor
