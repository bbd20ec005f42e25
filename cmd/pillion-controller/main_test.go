package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestCommandLineThatCannotBeUsed(t *testing.T) {
	good := []string{"--namespace=n", "--secret=s", "--service=w", "--webhook-configuration=c", "--lease=l"}
	with := func(more ...string) []string { return append(append([]string{}, good...), more...) }
	tests := map[string]struct {
		args []string
		says string
	}{
		"nothing":             {nil, "there is nothing to do: give --secret, --audit-config or both"},
		"no namespace":        {good[1:], "--namespace is required"},
		"no configuration":    {append(append([]string{}, good[:3]...), good[4]), "--webhook-configuration is required"},
		"audits all the time": {with("--audit-config=f", "--audit-interval=1ms"), "--audit-interval is 1ms; accepted is 1s or more"},
		"evictions below 0":   {with("--audit-config=f", "--evictions-per-minute=-1"), "--evictions-per-minute is -1; accepted is 0 to 600"},
		"nothing to evict":    {with("--evictions-per-minute=1"), "--evictions-per-minute is given without --audit-config"},
		"no lease":            {good[:4], "--lease is required"},
		"a name":              {with("--secret=A_B"), `--secret is "A_B"; a lowercase RFC 1123 subdomain`},
		"unknown flag":        {with("--token=x"), "-token"},
		"an argument":         {with("run"), `unexpected argument "run"`},
		"no port":             {with("--status-port=99999"), "--status-port is 99999"},
		"a short life":        {with("--certificate-lifetime=1s"), "--certificate-lifetime is 1s; accepted is 10s or more"},
		"a CA that ends":      {with("--ca-lifetime=24h"), "--ca-lifetime is 24h0m0s; accepted is twice --certificate-lifetime (720h0m0s) or more"},
		"settling forever":    {with("--settle=200h"), "--settle is 200h0m0s; accepted is up to a sixth of --certificate-lifetime (120h0m0s)"},
		"settling beforehand": {with("--settle=-1s"), "--settle is -1s"},
		"no label":            {with("--pod-label=mesh"), `--pod-label is "mesh"; accepted is a label NAME=VALUE`},
		"a label's name":      {with("--pod-label=a b=c"), `--pod-label is "a b=c"`},
		"no sidecar's port":   {with("--sidecar-status-port=0"), "--sidecar-status-port is 0; accepted is a port, from 1 to 65535"},
		"asking all the time": {with("--ask-interval=1ms"), "--ask-interval is 1ms; accepted is 1s or more"},
		"a level":             {with("--log-level=loud"), "log-level"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			if status := run(t.Context(), test.args, &stderr); status != 2 || !strings.Contains(stderr.String(), test.says) {
				t.Errorf("status %d, %q; want 2 and %q", status, &stderr, test.says)
			}
		})
	}
}

func TestHelpIsNoError(t *testing.T) {
	var stderr bytes.Buffer
	if status := run(t.Context(), []string{"--help"}, &stderr); status != 0 || !strings.Contains(stderr.String(), "-ca-lifetime time") {
		t.Errorf("status %d, %q", status, &stderr)
	}
}

func TestNoCluster(t *testing.T) {
	var stderr bytes.Buffer
	args := []string{"--namespace=n", "--secret=s", "--service=w", "--webhook-configuration=c", "--lease=l", "--kubeconfig=/does/not/exist"}
	if status := run(t.Context(), args, &stderr); status != 1 || !strings.Contains(stderr.String(), "finding the API server (in a pod, or by --kubeconfig)") {
		t.Errorf("status %d, %q", status, &stderr)
	}
}
