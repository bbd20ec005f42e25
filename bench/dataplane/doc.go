// Package dataplane measures what injection costs a pod: the time that pillion-init
// takes, beside the least that puts the same rules into the kernel and beside nft and
// iptables-restore; and what a request costs that goes through one Envoy or two. It
// holds benchmarks and tests only, for root; docs/performance.md records a run.
package dataplane
