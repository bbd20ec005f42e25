package main

import (
	"context"
	"fmt"

	admission "github.com/cert-manager/cert-manager/internal/webhook"
	logs "github.com/cert-manager/cert-manager/pkg/logs"
	"github.com/cert-manager/cert-manager/pkg/webhook/options"
)

// webhook judges cert-manager's own objects.
func webhook(ctx context.Context, args []string) error {
	configuration, err := options.NewWebhookConfiguration()
	if err != nil {
		return err
	}
	flags := flagSet("webhook")
	options.AddConfigFlags(flags, configuration)
	if err := flags.Parse(args); err != nil {
		return err
	}
	server, err := admission.NewCertManagerWebhookServer(logs.FromContext(ctx), *configuration)
	if err != nil {
		return fmt.Errorf("making the server: %w", err)
	}
	return server.Run(ctx)
}
