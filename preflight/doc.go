// Package preflight tells whether an installation of Pillion works, and what would go
// wrong in a namespace that opts in. It is pure: Facts about a cluster go in, Results
// come out. Whoever gathers the facts says of each whether it was seen; what was not
// seen is never taken to be well.
//
// Checks is the one list of what is looked at: it drives `pillionctl check` and the
// page docs/reference/checks.md.
package preflight
