package v1alpha1

import (
	"strings"
	"testing"
	"time"
)

// Between two sidecars the client's side has to close first.
func TestAgesAreCompared(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		upstream, downstream time.Duration
		want                 string
	}{
		{240 * s, 300 * s, ""}, {240 * s, 0, ""}, {0, 0, ""}, {240 * s, 241 * s, ""},
		{240 * s, 240 * s, "must be above maxUpstreamAge, 4m0s"}, {240 * s, s, "must be above"}, {0, 300 * s, "must be 0s (any age)"},
	} {
		config := DefaultConfig()
		config.Envoy.MaxUpstreamAge.Duration, config.Envoy.MaxDownstreamAge.Duration = test.upstream, test.downstream
		errs := Validate(config)
		if test.want == "" && errs != nil {
			t.Errorf("%s and %s: %v", test.upstream, test.downstream, errs)
		}
		if test.want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), test.want) || errs[0].Field != "envoy.maxDownstreamAge") {
			t.Errorf("%s and %s: %v, want %q", test.upstream, test.downstream, errs, test.want)
		}
	}
}
