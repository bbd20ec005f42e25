// Package controller keeps what the webhook needs in the cluster and has no rights
// to see to itself: its certificates; and it finds the pods that the webhook has missed
// (package auditor).
//
// One loop for the certificates, on the leader, for one Secret and the webhook configurations of one
// release:
//
//	something changed, or half a minute is over
//	-> what should the Secret be now?  (certificates, which computes only)
//	-> store it, unless somebody stored another one in between
//	-> write the caBundle of each of our entries that lacks a CA of the Secret
//
// Everything is read from the API and compared; there is no state that could be
// lost or be behind. Controllers that do not know of each other come to the same
// result: the first to store a Secret wins, the others see it and take it.
package controller
