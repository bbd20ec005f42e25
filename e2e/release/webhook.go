package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/cert"
)

// Webhook is the program of the release's Deployment, running as a process.
type Webhook struct {
	// CA signed the certificate that it serves with.
	CA []byte
	// StatusURL is where it serves /readyz, /healthz and /metrics.
	StatusURL string

	process *process
}

// Ports returns values that put the webhook and its Service on free ports of the
// loopback: processes share their ports, pods do not.
func Ports() (map[string]any, error) {
	ports, err := freePorts()
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"port": ports[0], "statusPort": ports[1], "service": map[string]any{"port": ports[0]},
		// kube-apiserver goes on, and with it its connections.
		"drainSeconds": 0,
	}, nil
}

func freePorts() (ports [2]int, err error) {
	var held [2]net.Listener // until both are known, so that they differ
	for i := range ports {
		listener, err := net.Listen("tcp", "localhost:0")
		if err != nil {
			return ports, fmt.Errorf("looking for a free port: %w", err)
		}
		held[i], ports[i] = listener, listener.Addr().(*net.TCPAddr).Port
	}
	for _, listener := range held {
		if err := listener.Close(); err != nil {
			return ports, fmt.Errorf("letting a free port go: %w", err)
		}
	}
	return ports, nil
}

// StartWebhook runs program with the arguments of the release's Deployment and
// waits until it is ready. What the Deployment mounts is written into folder, and
// what the program says goes to log.
func (r *Release) StartWebhook(ctx context.Context, program, folder string, log io.Writer) (*Webhook, error) {
	container, service, err := r.container()
	if err != nil {
		return nil, err
	}
	host := fmt.Sprintf("%s.%s.svc", service, r.Namespace)
	certificate, key, err := cert.GenerateSelfSignedCertKey(host, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("making a certificate for %s: %w", host, err)
	}
	config, err := r.Config()
	if err != nil {
		return nil, err
	}
	mounted := map[string]map[string][]byte{
		"config": {"config.yaml": config},
		"tls":    {"tls.crt": certificate, "tls.key": key},
	}
	if err := writeVolumes(folder, mounted); err != nil {
		return nil, err
	}
	w := &Webhook{CA: certificate, StatusURL: statusURL(container)}
	if w.process, err = startProcess(ctx, log, program, r.arguments(container, folder)...); err != nil {
		return nil, fmt.Errorf("starting the webhook: %w", err)
	}
	if err := w.process.waitReady(ctx, w.StatusURL); err != nil {
		return nil, errors.Join(err, w.Stop())
	}
	return w, nil
}

// Replica is one of several.
type Replica struct {
	// Address and StatusURL are where it listens, and where it serves /readyz.
	Address, StatusURL string

	process *process
}

// StartReplica runs program with the arguments of the release's Deployment, on free
// ports of the loopback, beside others. It does not wait: what the Deployment
// mounts is in folder sooner or later.
func (r *Release) StartReplica(ctx context.Context, program, folder string, log io.Writer) (*Replica, error) {
	container, _, err := r.container()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts()
	if err != nil {
		return nil, err
	}
	arguments := append(r.arguments(container, folder), "--host=localhost",
		"--port="+strconv.Itoa(ports[0]), "--status-port="+strconv.Itoa(ports[1]))
	p, err := startProcess(ctx, log, program, arguments...)
	if err != nil {
		return nil, fmt.Errorf("starting a replica: %w", err)
	}
	return &Replica{net.JoinHostPort("localhost", strconv.Itoa(ports[0])), "http://localhost:" + strconv.Itoa(ports[1]), p}, nil
}

// Stop ends the replica as kubelet does, and waits for it.
func (r *Replica) Stop() error { return r.process.stop() }

// Kill ends it without a word, and says how it ended.
func (r *Replica) Kill() error { return r.process.kill() }

// Signal sends it a signal.
func (r *Replica) Signal(signal os.Signal) error { return r.process.command.Process.Signal(signal) }

// PID is its process id.
func (r *Replica) PID() int { return r.process.command.Process.Pid }

// Stop ends the process as kubelet does, and waits for it.
func (w *Webhook) Stop() error {
	if err := w.process.stop(); err != nil {
		return fmt.Errorf("stopping the webhook: %w", err)
	}
	return nil
}

// Config is the InjectorConfig document in the release's ConfigMap.
func (r *Release) Config() ([]byte, error) {
	var configMap corev1.ConfigMap
	if err := r.typed("webhook", "ConfigMap", &configMap); err != nil {
		return nil, err
	}
	return []byte(configMap.Data["config.yaml"]), nil
}

// container is the webhook's, and service the name that its certificate is for.
func (r *Release) container() (container corev1.Container, service string, err error) {
	var deployment appsv1.Deployment
	if err := r.typed("webhook", "Deployment", &deployment); err != nil {
		return corev1.Container{}, "", err
	}
	return deployment.Spec.Template.Spec.Containers[0], r.Object("Service").GetName(), nil
}

func (r *Release) typed(component, kind string, into any) error {
	object := r.Of(component, kind)
	if object == nil {
		return fmt.Errorf("the chart rendered no %s of the %s", kind, component)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into); err != nil {
		return fmt.Errorf("reading the rendered %s: %w", kind, err)
	}
	return nil
}

// arguments are the container's, with its mounts found in folder.
func (r *Release) arguments(container corev1.Container, folder string) []string {
	var replacements []string
	for _, mount := range container.VolumeMounts {
		replacements = append(replacements, mount.MountPath, filepath.Join(folder, mount.Name))
	}
	paths := strings.NewReplacer(replacements...)
	var arguments []string
	for _, argument := range container.Args {
		arguments = append(arguments, paths.Replace(argument))
	}
	return arguments
}

func writeVolumes(folder string, volumes map[string]map[string][]byte) error {
	for volume, files := range volumes {
		if err := os.MkdirAll(filepath.Join(folder, volume), 0o700); err != nil {
			return fmt.Errorf("writing the volume %s: %w", volume, err)
		}
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(folder, volume, name), content, 0o600); err != nil {
				return fmt.Errorf("writing the volume %s: %w", volume, err)
			}
		}
	}
	return nil
}

func statusURL(container corev1.Container) string {
	for _, port := range container.Ports {
		if port.Name == "status" {
			return "http://localhost:" + strconv.Itoa(int(port.ContainerPort))
		}
	}
	return ""
}
