// Package bench measures an admission request against floors: the least that a
// webhook could do which answers the same requests. It holds benchmarks and tests
// only; `make bench` runs them, docs/performance.md records a run.
//
// The reviews come from a folder: BENCH_CORPUS, by default testdata. Each *.json
// file is an AdmissionReview as kube-apiserver sends it; its name is the case's. A
// folder without injected.json gets that case from service.json, injected by the
// code under test.
package bench
