package v1alpha1

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// retryConditions is the path of the closed set.
const retryConditions = "spec.egress[].retries.when[]"

func validateRetries(to *Destination, path *field.Path) field.ErrorList {
	retries := to.Retries
	if retries == nil {
		return nil
	}
	when, safe, perTry := path.Child("when"), path.Child("safeMethods"), path.Child("perTryTimeout")
	errs := slices.Concat(
		validateAttempts(retries.Attempts, path.Child("attempts")),
		validateNames(retries.SafeMethods, safeMethod, "a gRPC method as shop.v1.Cart/GetCart", safe),
		validateMoment(retries.PerTryTimeout, perTry),
		validatePercent(retries.BudgetPercent, path.Child("budgetPercent")),
	)
	if retries.When != nil && len(retries.When) == 0 {
		errs = append(errs, field.Required(when, "give at least one condition, or leave it out for ConnectFailure and RefusedStream"))
	}
	most := len(Accepted(retryConditions))
	errs = append(errs, validateLength(len(retries.When), most, when)...)
	for n := range min(len(retries.When), most) {
		errs = append(errs, validateWord(retryConditions, when.Index(n), &retries.When[n])...)
		if first := slices.Index(retries.When, retries.When[n]); first < n {
			errs = append(errs, field.Invalid(when.Index(n), string(retries.When[n]), fmt.Sprintf("is given at %s already", when.Index(first))))
		}
	}
	if to.Protocol == ProtocolHTTP1 && len(retries.SafeMethods) > 0 {
		errs = append(errs, field.Forbidden(safe, "does not go with protocol HTTP1: gRPC needs HTTP/2"))
	}
	if t, timeout := retries.PerTryTimeout, to.Timeout; t != nil && timeout != nil && timeout.Duration > 0 && t.Duration >= timeout.Duration {
		errs = append(errs, field.Invalid(perTry, t.Duration.String(), fmt.Sprintf("must be below timeout, %s: nothing of it would be left for a retry", timeout.Duration)))
	}
	return errs
}
