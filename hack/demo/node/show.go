package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pillion-mesh/pillion/hack/demo/screen"
)

const (
	// namespace is for the pods, system for the release.
	namespace, system = "pillion-demo", "pillion-demo-system"
	release           = "pillion-demo"
	// rate of requests a second.
	rate = 200
)

// beside is what the Deployment needs around it: its namespace, which belongs to this
// release and to no other, a Service, and somebody who asks.
const beside = `
apiVersion: v1
kind: Namespace
metadata: {name: pillion-demo, labels: {service-mesh-enabled: "true", pillion.dev/revision: demo}}
---
apiVersion: v1
kind: Service
metadata: {name: checkout, namespace: pillion-demo}
spec: {selector: {app: checkout}, ports: [{name: http, port: 8080}, {name: grpc, port: 9000}]}
`

const client = `
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: pillion-demo, labels: {app: client, service-mesh-enabled: "true"}}
spec: {containers: [{name: app, image: APP, args: [sleep, 1h]}]}
`

// install installs the release. The times are short, so that nobody waits long.
func (d *demo) install(ctx context.Context) error {
	_, err := said(ctx, "", d.helm, "--kubeconfig", d.kubeconfig, "upgrade", "--install", release, "charts/pillion", "--namespace", system, "--create-namespace",
		"--set", "webhook.image.repository="+d.images+"/pillion-webhook,webhook.image.tag="+d.tag,
		"--set", "controller.image.repository="+d.images+"/pillion-controller,controller.image.tag="+d.tag,
		"--set", "injector.images.init="+d.images+"/pillion-init:"+d.tag,
		"--set", "injector.revision=demo,webhook.replicas=2,controller.replicas=1",
		// Nobody else is being served when the demo ends.
		"--set", "webhook.shutdownDelaySeconds=0,webhook.drainSeconds=0",
		"--set", "webhook.resources.requests.cpu=20m,injector.sidecar.resources.requests.cpu=20m",
		"--set", "injector.lifecycle.preDrainDelay=6s,injector.lifecycle.drainTime=6s",
		"--wait", "--timeout", "3m")
	if err != nil && !d.mine {
		return fmt.Errorf("%w\nWhere pods cannot pull their images: make demo KUBECONFIG=FILE PUSH=registry/repository pushes them first; for kind, make demo-images and `kind load image-archive bin/images/NAME.tar` for each", err)
	}
	return err
}

// deploy applies the Deployment of the parts before, but for its image: that is the
// demo's own server.
func (d *demo) deploy(ctx context.Context) error {
	deployment, err := os.ReadFile("hack/demo/manifests/checkout.yaml")
	if err != nil {
		return fmt.Errorf("reading the demo's manifest: %w", err)
	}
	const theirs = "image: example.com/checkout:1.4\n"
	if !strings.Contains(string(deployment), theirs) {
		return fmt.Errorf("the demo's manifest has no %q", theirs)
	}
	app := d.images + "/pillion-demo-app:" + d.tag
	client := strings.ReplaceAll(client, "APP", app)
	manifest := strings.NewReplacer(theirs, "image: "+app+"\n          args: [serve]\n", "namespace: shop", "namespace: "+namespace).Replace(string(deployment))
	if _, err := d.kube(ctx, beside, "apply", "-f", "-"); err != nil {
		return err
	}
	if err := d.awaitWebhook(ctx, client); err != nil {
		return err
	}
	if _, err := d.kube(ctx, client+"---\n"+manifest, "apply", "-f", "-"); err != nil {
		return err
	}
	if _, err := d.kube(ctx, "", "-n", namespace, "rollout", "status", "deployment/checkout", "--timeout=3m"); err != nil {
		return err
	}
	_, err = d.kube(ctx, "", "-n", namespace, "wait", "--for=condition=Ready", "pod/client", "--timeout=2m")
	return err
}

// awaitWebhook waits until a pod would get its sidecar. kube-apiserver finds the way to the
// webhook a moment after its replicas are ready, and lets pods through plain until then.
func (d *demo) awaitWebhook(ctx context.Context, pod string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		containers, err := d.kube(ctx, pod, "create", "--dry-run=server", "-f", "-", "-o", "jsonpath={.spec.initContainers[*].name}")
		if err == nil && strings.Contains(containers, "envoy") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for kube-apiserver to ask the webhook about a pod: after a minute it still makes one with the init containers %q: %w", containers, errors.Join(err, ctx.Err()))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// findRoom fails where the namespaces are there already: they are removed at the end, and
// may be somebody's.
func (d *demo) findRoom(ctx context.Context) error {
	there, err := d.kube(ctx, "", "get", "namespace", namespace, system, "--ignore-not-found", "-o", "name")
	if err != nil {
		return fmt.Errorf("looking for the demo's namespaces: %w", err)
	}
	if there = strings.Join(strings.Fields(there), " and "); there != "" {
		return fmt.Errorf("the cluster has %s already, from another demo that runs or was broken off: wait for its end, or remove it by `helm uninstall %s -n %s` and `kubectl delete namespace %s %s`", there, release, system, namespace, system)
	}
	return nil
}

// remove takes away what was brought to the user's cluster.
func (d *demo) remove(ctx context.Context) error {
	_, uninstall := said(ctx, "", d.helm, "--kubeconfig", d.kubeconfig, "uninstall", release, "--namespace", system, "--ignore-not-found", "--wait", "--timeout", "2m")
	_, err := d.kube(ctx, "", "delete", "namespace", namespace, system, "--ignore-not-found", "--timeout=2m")
	return errors.Join(uninstall, err)
}

func (d *demo) showPods(ctx context.Context) error {
	const columns = "POD:.metadata.name,INIT CONTAINERS:.spec.initContainers[*].name,CONTAINERS:.spec.containers[*].name,READY:.status.conditions[?(@.type=='Ready')].status"
	pods, err := d.kube(ctx, "", "-n", namespace, "get", "pods", "-l", "app in (checkout,client)", "-o", "custom-columns="+columns)
	if err != nil {
		return err
	}
	if strings.Count(pods, "pillion-init,envoy") != 3 {
		return fmt.Errorf("not all pods have a sidecar:\n%s", pods)
	}
	d.out.Say(screen.Plain, "")
	d.out.Say(screen.Bold, "  The pods, each with Envoy beside its app. kubelet starts the app when Envoy serves")
	for line := range strings.Lines(pods) {
		d.out.Say(screen.Plain, "  %s", strings.TrimRight(line, "\n"))
	}
	return nil
}

// showRequest sends one request from the client to the Service. It goes through two
// Envoys: the client's and the server's.
func (d *demo) showRequest(ctx context.Context) error {
	before, err := d.counts(ctx)
	if err != nil {
		return err
	}
	answer, err := d.kube(ctx, "", "-n", namespace, "exec", "client", "-c", "app", "--", "/app", "get", "-tries", "20", "http://checkout:8080/hello")
	if err != nil {
		return err
	}
	after, err := d.counts(ctx)
	if err != nil {
		return err
	}
	answered := regexp.MustCompile(`pod=(\S+)`).FindStringSubmatch(answer)
	if answered == nil || after["client"].sent <= before["client"].sent || after[answered[1]].received <= before[answered[1]].received {
		return fmt.Errorf("the request did not go through both Envoys, which counted %v before and %v after; the answer was %q", before, after, answer)
	}
	server := answered[1]
	d.out.Say(screen.Bold, "\n  One request from the client to http://checkout:8080/hello")
	d.out.Fact(screen.Green, "answered", "by pod/"+server)
	d.out.Fact(screen.Plain, "client", fmt.Sprintf("its Envoy had sent %d requests, and has now sent %d", before["client"].sent, after["client"].sent))
	d.out.Fact(screen.Plain, "server", fmt.Sprintf("its Envoy had received %d requests, and has now received %d", before[server].received, after[server].received))
	return nil
}

// count is what an Envoy has counted.
type count struct{ sent, received int }

// counts are those of each pod of the demo.
func (d *demo) counts(ctx context.Context) (map[string]count, error) {
	pods, err := d.kube(ctx, "", "-n", namespace, "get", "pods", "-o", "jsonpath={.items[*].metadata.name}")
	if err != nil {
		return nil, err
	}
	counts := map[string]count{}
	for pod := range strings.FieldsSeq(pods) {
		metrics, err := d.kube(ctx, "", "get", "--raw", "/api/v1/namespaces/"+namespace+"/pods/"+pod+":15020/proxy/metrics")
		if err != nil {
			return nil, err
		}
		counts[pod] = count{sent: counted(metrics, "outbound_http"), received: counted(metrics, "inbound_http")}
	}
	return counts, nil
}

// counted are the requests in Envoy's metrics in one direction; an Envoy that has seen
// none may not say so.
func counted(metrics, direction string) (requests int) {
	_, rest, found := strings.Cut(metrics, `envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="`+direction+`"} `)
	if found {
		_, _ = fmt.Sscan(rest, &requests)
	}
	return requests
}

// showRestart replaces the pods while the client calls them.
func (d *demo) showRestart(ctx context.Context) error {
	var load struct {
		Requests, Failed int
		First            []string
	}
	loaded := make(chan error, 1)
	go func() {
		output, err := d.kube(ctx, "", "-n", namespace, "exec", "client", "-c", "app", "--", "/app", "load", "-rate", strconv.Itoa(rate), "-for", d.lasts.String(), "checkout")
		if err == nil {
			err = json.Unmarshal([]byte(output), &load)
		}
		loaded <- err
	}()
	d.out.Say(screen.Bold, "\n  A rolling restart, while the client sends %d requests a second: HTTP/1.1 on old and new connections, gRPC, streams", rate)
	var took time.Duration
	err := d.out.Wait("kubectl rollout restart deployment/checkout, and the load around it", nil, func() error {
		began := time.Now()
		_, err := d.kube(ctx, "", "-n", namespace, "rollout", "restart", "deployment/checkout")
		if err == nil {
			_, err = d.kube(ctx, "", "-n", namespace, "rollout", "status", "deployment/checkout", "--timeout=3m")
		}
		took = time.Since(began)
		return errors.Join(err, <-loaded)
	})
	if err != nil {
		return err
	}
	d.out.Fact(screen.Plain, "restarted", fmt.Sprintf("both pods were replaced within %.0f s; the old ones drained before they ended", took.Seconds()))
	style := screen.Green
	if load.Failed > 0 {
		style = screen.Red
	}
	d.out.Fact(style, "requests", fmt.Sprintf("%d, of which %d failed", load.Requests, load.Failed))
	if load.Failed > 0 || load.Requests < rate*int(d.lasts.Seconds())/2 {
		return fmt.Errorf("%d of %d requests failed, where 0 of about %d should: %s", load.Failed, load.Requests, rate*int(d.lasts.Seconds()), strings.Join(load.First, "\n"))
	}
	return nil
}
