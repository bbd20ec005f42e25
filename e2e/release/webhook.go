package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

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

	command *exec.Cmd
	exited  chan error
}

// Ports returns values that put the webhook and its Service on free ports of the
// loopback: processes share their ports, pods do not.
func Ports() (map[string]any, error) {
	var ports [2]int
	var held [2]net.Listener // until both are known, so that they differ
	for i := range ports {
		listener, err := net.Listen("tcp", "localhost:0")
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		held[i], ports[i] = listener, listener.Addr().(*net.TCPAddr).Port
	}
	for _, listener := range held {
		if err := listener.Close(); err != nil {
			return nil, fmt.Errorf("letting a free port go: %w", err)
		}
	}
	return map[string]any{"port": ports[0], "statusPort": ports[1], "service": map[string]any{"port": ports[0]}}, nil
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
	w := &Webhook{CA: certificate, StatusURL: statusURL(container), exited: make(chan error, 1)}
	// It goes on until Stop, which also a caller that was interrupted calls.
	w.command = exec.CommandContext(context.WithoutCancel(ctx), program, r.arguments(container, folder)...)
	w.command.Stdout, w.command.Stderr = log, log
	// A test that is killed calls no Stop, so the kernel has to.
	w.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The kernel takes the end of the thread that started a program for the
		// parent's end: hold it.
		goruntime.LockOSThread()
		err := w.command.Start()
		started <- err
		if err == nil {
			w.exited <- w.command.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting the webhook: %w", err)
	}
	if err := w.waitReady(ctx); err != nil {
		return nil, errors.Join(err, w.Stop())
	}
	return w, nil
}

// Stop ends the process as kubelet does, and waits for it.
func (w *Webhook) Stop() error {
	if err := w.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping the webhook: %w", err)
	}
	if err := <-w.exited; err != nil {
		return fmt.Errorf("the webhook ended: %w", err)
	}
	return nil
}

// Config is the InjectorConfig document in the release's ConfigMap.
func (r *Release) Config() ([]byte, error) {
	var configMap corev1.ConfigMap
	if err := r.typed("ConfigMap", &configMap); err != nil {
		return nil, err
	}
	return []byte(configMap.Data["config.yaml"]), nil
}

// container is the webhook's, and service the name that its certificate is for.
func (r *Release) container() (container corev1.Container, service string, err error) {
	var deployment appsv1.Deployment
	if err := r.typed("Deployment", &deployment); err != nil {
		return corev1.Container{}, "", err
	}
	return deployment.Spec.Template.Spec.Containers[0], r.Object("Service").GetName(), nil
}

func (r *Release) typed(kind string, into any) error {
	object := r.Object(kind)
	if object == nil {
		return fmt.Errorf("the chart rendered no %s", kind)
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

// waitReady asks as kubelet would, until the answer is 200 or the process ends.
func (w *Webhook) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready(ctx, w.StatusURL+"/readyz") {
			return nil
		}
		select {
		case err := <-w.exited:
			w.exited <- err
			return errors.New("the webhook ended before it was ready; see its log")
		case <-ctx.Done():
			return fmt.Errorf("the webhook was not ready in time: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}
