package injector

import "github.com/pillion-mesh/pillion/api/v1alpha1"

// Injector holds one configuration, ready to be used by any number of goroutines.
type Injector struct {
	config *v1alpha1.InjectorConfig
}

// New prepares a configuration that has been defaulted and validated.
func New(config *v1alpha1.InjectorConfig) (*Injector, error) {
	return &Injector{config: config}, nil
}

// Inject decides on one pod.
func (i *Injector) Inject(Request) Result {
	panic("not written yet")
}

// ConfigHash identifies the configuration, in the status annotation and in metrics.
func (i *Injector) ConfigHash() string { return "" }
