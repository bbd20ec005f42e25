package webhook

import (
	"fmt"
	"sync/atomic"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

// Configuration is the configuration in force, swapped in whole. It starts with
// none.
type Configuration struct {
	current atomic.Pointer[loaded]
}

// loaded is what requests are answered from: an Injector's methods, or in tests
// other functions.
type loaded struct {
	inject func(injector.Request) injector.Result
	review func(*injector.Workload) []injector.Warning
	hash   string
	optIn  v1alpha1.OptIn
}

// Load puts an InjectorConfig document, YAML or JSON, into force. A document that
// cannot be used is an error and changes nothing.
func (c *Configuration) Load(document []byte) error {
	config, err := v1alpha1.Decode(document)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	prepared, err := injector.New(config)
	if err != nil {
		return fmt.Errorf("preparing the configuration: %w", err)
	}
	c.current.Store(&loaded{inject: prepared.Inject, review: prepared.Review, hash: prepared.ConfigHash(), optIn: config.OptIn})
	return nil
}

// Hash of the configuration in force; empty while there is none.
func (c *Configuration) Hash() string {
	if current := c.current.Load(); current != nil {
		return current.hash
	}
	return ""
}
