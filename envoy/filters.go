package envoy

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	adaptivev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/adaptive_concurrency/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/pillion-mesh/pillion/mesh"
)

// filter looks at the requests of a port.
type filter struct {
	name   string
	config proto.Message
}

func (f filter) message() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: f.name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(f.config)}}
}

// inboundFilters come in this order: what the rate refuses is no load, and tells
// nothing about how long the app takes.
func inboundFilters(p mesh.Inbound) []filter {
	var filters []filter
	if p.Rate.Requests > 0 {
		filters = append(filters, filter{"envoy.filters.http.local_ratelimit", rateLimit(p)})
	}
	if p.Adaptive.Max > 0 {
		filters = append(filters, filter{"envoy.filters.http.adaptive_concurrency", adaptiveConcurrency(p.Adaptive)})
	}
	return filters
}

func rateLimit(p mesh.Inbound) *ratelimitv3.LocalRateLimit {
	always := &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}}
	return &ratelimitv3.LocalRateLimit{
		StatPrefix: inboundName(p.Port),
		TokenBucket: &typev3.TokenBucket{
			MaxTokens: p.Rate.Burst, TokensPerFill: number(p.Rate.Requests), FillInterval: seconds(p.Rate.Per),
		},
		// Without these two it only counts.
		FilterEnabled: always, FilterEnforced: always,
		// A gRPC client that was told UNAVAILABLE would try again at once.
		RateLimitedAsResourceExhausted: true,
	}
}

// concurrencyUpdate is how often the limit follows what was measured: Envoy's examples
// have it, and it has no default.
const concurrencyUpdate = 100 * time.Millisecond

func adaptiveConcurrency(a mesh.Adaptive) *adaptivev3.AdaptiveConcurrency {
	return &adaptivev3.AdaptiveConcurrency{
		ConcurrencyControllerConfig: &adaptivev3.AdaptiveConcurrency_GradientControllerConfig{GradientControllerConfig: &adaptivev3.GradientControllerConfig{
			// Half of the requests are slower than the middle one at all times; what is
			// compared is the slow end.
			SampleAggregatePercentile: percent(90),
			ConcurrencyLimitParams: &adaptivev3.GradientControllerConfig_ConcurrencyLimitCalculationParams{
				MaxConcurrencyLimit: number(a.Max), ConcurrencyUpdateInterval: seconds(concurrencyUpdate),
			},
			MinRttCalcParams: &adaptivev3.GradientControllerConfig_MinimumRTTCalculationParams{
				Interval: seconds(a.MeasureEvery), RequestCount: number(50),
				// Pods that started together do not measure together.
				Jitter: percent(15), MinConcurrency: number(a.Min), Buffer: percent(a.HeadroomPercent),
			},
		}},
		Enabled: &corev3.RuntimeFeatureFlag{DefaultValue: wrapperspb.Bool(true), RuntimeKey: "pillion.adaptive_concurrency"},
	}
}

func percent(n uint32) *typev3.Percent { return &typev3.Percent{Value: float64(n)} }
