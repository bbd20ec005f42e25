package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// App stands for the containers of a pod's owner: servers and clients inside the
// test itself, in the pod's network namespace.
type App struct {
	// Start is called when kubelet would start the app's containers.
	Start func()
	// Stop is called when they get SIGTERM, and returns when they have ended.
	Stop func()
	// Kill ends them at once.
	Kill func()
}

// Images are those that a pod's added containers name.
type Images struct {
	// Init and Envoy are the images of pillion-init and of the sidecar.
	Init, Envoy Image
}

// Running is a pod whose containers run.
type Running struct {
	*Pod
	// Init is pillion-init, which has ended, and Envoy the sidecar.
	Init, Envoy *Container
	// Volumes are the folders of the machine that the pod's volumes are in.
	Volumes map[string]string

	of     *corev1.Pod
	app    App
	native bool
	// appRuns says whether the app's containers were started.
	appRuns bool
}

// The names of the containers that injection adds.
const (
	initName    = "pillion-init"
	sidecarName = "envoy"
)

// Run starts what was injected into a pod as kubelet would, and the app when it is
// its turn. The error is what kubectl would show of a pod that does not come up.
func (p *Pod) Run(tb testing.TB, of *corev1.Pod, images Images, app App) (*Running, error) {
	tb.Helper()
	volumes := map[string]string{}
	r := &Running{Pod: p, Volumes: volumes, of: of, app: app}
	for n := range of.Spec.Volumes {
		volume := &of.Spec.Volumes[n]
		folder, err := p.volume(tb, volume)
		if err != nil {
			return r, err
		}
		volumes[volume.Name] = folder
	}
	for n := range of.Spec.InitContainers {
		c := &of.Spec.InitContainers[n]
		switch c.Name {
		case initName:
			r.Init = p.StartContainer(tb, c, images.Init, volumes)
			if code := r.Init.Wait(tb, time.Minute); code != 0 {
				return r, fmt.Errorf("init container %s ended with %d: %s", c.Name, code, r.Init.TerminationMessage())
			}
		case sidecarName:
			r.native = true
			r.Envoy = p.StartContainer(tb, c, images.Envoy, volumes)
			if err := r.startupProbe(c.StartupProbe); err != nil {
				return r, err
			}
		}
	}
	for n := range of.Spec.Containers {
		if c := &of.Spec.Containers[n]; c.Name == sidecarName {
			r.Envoy = p.StartContainer(tb, c, images.Envoy, volumes)
			if err := r.hook(c.Lifecycle.PostStart, "postStart"); err != nil {
				return r, err
			}
		}
	}
	if app.Start != nil {
		app.Start()
	}
	r.appRuns = true
	return r, nil
}

// volume is the folder of the machine that a volume of the pod is in.
func (p *Pod) volume(tb testing.TB, of *corev1.Volume) (string, error) {
	tb.Helper()
	if source := of.ConfigMap; source != nil {
		if c := p.ConfigMaps[source.Name]; c != nil {
			return c.folder, nil
		}
		if source.Optional == nil || !*source.Optional {
			return "", fmt.Errorf("MountVolume.SetUp failed for volume %q: configmap %q not found", of.Name, source.Name)
		}
	}
	folder := filepath.Join(tb.TempDir(), of.Name)
	if err := errors.Join(os.Mkdir(folder, 0o777), os.Chmod(folder, 0o777)); err != nil {
		tb.Fatal(err)
	}
	return folder, nil
}

func (r *Running) startupProbe(probe *corev1.Probe) error {
	for failures := int32(0); ; time.Sleep(time.Duration(probe.PeriodSeconds) * time.Second) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(probe.TimeoutSeconds)*time.Second)
		_, err := r.Envoy.Exec(ctx, probe.Exec.Command...)
		cancel()
		if err == nil {
			return nil
		}
		if failures++; failures >= probe.FailureThreshold {
			return fmt.Errorf("startup probe failed: %w", err)
		}
	}
}

func (r *Running) hook(of *corev1.LifecycleHandler, name string) error {
	if _, err := r.Envoy.Exec(context.Background(), of.Exec.Command...); err != nil {
		return fmt.Errorf("%s hook failed: %w", name, err)
	}
	return nil
}

// Sidecar is the envoy container of the pod's spec.
func (r *Running) Sidecar() *corev1.Container {
	for _, list := range [...][]corev1.Container{r.of.Spec.InitContainers, r.of.Spec.Containers} {
		for n := range list {
			if list[n].Name == sidecarName {
				return &list[n]
			}
		}
	}
	return nil
}

// AppContainer is the first container of the pod's spec that is not ours.
func (r *Running) AppContainer() *corev1.Container {
	for n := range r.of.Spec.Containers {
		if c := &r.of.Spec.Containers[n]; c.Name != sidecarName {
			return c
		}
	}
	return nil
}

// Ready is an error while the sidecar's readiness probe fails, which kubelet sends
// from the node.
func (r *Running) Ready(ctx context.Context) error {
	get := r.Sidecar().ReadinessProbe.HTTPGet
	ctx, cancel := context.WithTimeout(ctx, time.Duration(r.Sidecar().ReadinessProbe.TimeoutSeconds)*time.Second)
	defer cancel()
	url := "http://" + net.JoinHostPort(r.IPv4.String(), strconv.Itoa(get.Port.IntValue())) + get.Path
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("readiness probe: HTTP %d", response.StatusCode)
	}
	return nil
}

// Delete stops the pod as kubelet does, and returns when every container has ended:
// the preStop hooks of all containers at once, the app's SIGTERM behind its own; the
// sidecar's behind its own and, where it is a native one, behind the app's end. When
// the grace period is over everything is killed.
func (r *Running) Delete(tb testing.TB) {
	tb.Helper()
	over := time.Now().Add(time.Duration(*r.of.Spec.TerminationGracePeriodSeconds) * time.Second)
	ctx, cancel := context.WithDeadline(context.Background(), over)
	defer cancel()
	appEnded := make(chan struct{})
	go func() {
		defer close(appEnded)
		if !r.appRuns {
			return
		}
		sleep(ctx, r.appSleep())
		if r.app.Stop != nil {
			r.app.Stop()
		}
	}()
	if _, err := r.Envoy.Exec(ctx, r.Sidecar().Lifecycle.PreStop.Exec.Command...); err != nil {
		tb.Errorf("preStop hook of pod %s: %v", r.Name, err)
	}
	if r.native {
		<-appEnded
	}
	r.Envoy.Signal(unix.SIGTERM)
	select {
	case <-r.Envoy.Done():
	case <-ctx.Done():
		r.Envoy.Signal(unix.SIGKILL)
		<-r.Envoy.Done()
	}
	<-appEnded
}

// StopAtOnce gives every container its SIGTERM without a preStop hook, and returns
// when they have ended.
func (r *Running) StopAtOnce() {
	r.Envoy.Signal(unix.SIGTERM)
	if r.app.Stop != nil {
		r.app.Stop()
	}
	<-r.Envoy.Done()
}

// Kill kills everything, as the end of a node does.
func (r *Running) Kill() {
	r.Envoy.Signal(unix.SIGKILL)
	<-r.Envoy.Done()
	if r.app.Kill != nil {
		r.app.Kill()
	}
}

// appSleep is the sleep in the app's preStop hook, where it has one.
func (r *Running) appSleep() time.Duration {
	for n := range r.of.Spec.Containers {
		c := &r.of.Spec.Containers[n]
		if c.Name != sidecarName && c.Lifecycle != nil && c.Lifecycle.PreStop != nil && c.Lifecycle.PreStop.Sleep != nil {
			return time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
		}
	}
	return 0
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
