package v1alpha1

import (
	"fmt"
	"math"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// numbers are the values from the least to the most.
type numbers struct{ least, most int32 }

func (b numbers) validate(value *int32, path *field.Path) field.ErrorList {
	if value == nil || *value >= b.least && *value <= b.most {
		return nil
	}
	if b.most == math.MaxInt32 {
		return field.ErrorList{field.Invalid(path, *value, fmt.Sprintf("must be %d or more", b.least))}
	}
	return field.ErrorList{field.Invalid(path, *value, fmt.Sprintf("must be from %d to %d", b.least, b.most))}
}

// durations are those from the least to the most, in whole milliseconds, which is
// what Envoy's timers count in.
type durations struct {
	least, most time.Duration
	// none accepts 0, and says what it means.
	none string
}

func (b durations) validate(value *metav1.Duration, path *field.Path) field.ErrorList {
	if value == nil || b.none != "" && value.Duration == 0 {
		return nil
	}
	if d := value.Duration; d >= b.least && d <= b.most && d%time.Millisecond == 0 {
		return nil
	}
	accepted := fmt.Sprintf("must be from %s to %s, in whole milliseconds", shortDuration(b.least), shortDuration(b.most))
	if b.none != "" {
		accepted += ", or 0s for " + b.none
	}
	return field.ErrorList{field.Invalid(path, value.Duration.String(), accepted)}
}

// shortDuration is a duration without the zeros that Go writes behind it: 1h, 4m.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// The bounds of a MeshService's fields. Those of Envoy's own messages are wider, or
// the same where a comment says so.

func validateLimit(value *int32, path *field.Path) field.ErrorList {
	return numbers{1, math.MaxInt32}.validate(value, path)
}

func validatePercent(value *int32, path *field.Path) field.ErrorList {
	return numbers{1, 100}.validate(value, path)
}

// Fewer would cut what the sidecar says about itself.
func validateSeries(value *int32, path *field.Path) field.ErrorList {
	return numbers{100, 100_000}.validate(value, path)
}

// More would make an outage of one destination an outage of its callers.
func validateAttempts(value *int32, path *field.Path) field.ErrorList {
	return numbers{1, 5}.validate(value, path)
}

func validateTimeout(value *metav1.Duration, path *field.Path) field.ErrorList {
	return durations{time.Millisecond, MaxDuration, "none"}.validate(value, path)
}

func validateAge(value *metav1.Duration, path *field.Path) field.ErrorList {
	return durations{time.Second, MaxDuration, "any age"}.validate(value, path)
}

func validateMoment(value *metav1.Duration, path *field.Path) field.ErrorList {
	return durations{time.Millisecond, MaxDuration, ""}.validate(value, path)
}

func validatePeriod(value *metav1.Duration, path *field.Path) field.ErrorList {
	return durations{time.Second, MaxDuration, ""}.validate(value, path)
}

// A bucket takes 50 ms at least to fill, which is Envoy's own bound.
func validateBucket(value *metav1.Duration, path *field.Path) field.ErrorList {
	return durations{50 * time.Millisecond, MaxDuration, ""}.validate(value, path)
}
