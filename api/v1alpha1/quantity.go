package v1alpha1

import (
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/api/resource"
)

// QuantityPattern is what a quantity has to look like here: Kubernetes' notation
// without signs and exponents.
const QuantityPattern = `^[0-9]{1,15}([.][0-9]{1,9})?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$`

var quantityPattern = regexp.MustCompile(QuantityPattern)

// ParseQuantity reads a quantity as 100m or 128Mi. It takes less than
// resource.ParseQuantity, which parses 1e999999999 in no time and then compares it
// with another quantity for minutes, writing out its digits.
func ParseQuantity(text string) (resource.Quantity, error) {
	// The length first: it bounds the work of the rest.
	if len(text) <= longestScalar && quantityPattern.MatchString(text) {
		if q, err := resource.ParseQuantity(text); err == nil {
			return q, nil
		}
	}
	return resource.Quantity{}, fmt.Errorf("parsing quantity %s: must be as 100m or 128Mi", show(text))
}
