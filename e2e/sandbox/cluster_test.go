package sandbox

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// What a container sees of a ConfigMap changes in one rename, and keys come and go.
func TestConfigMapsChangeAsKubeletChangesThem(t *testing.T) {
	c := NewConfigMap(t)
	content := func() map[string]string {
		found := map[string]string{}
		paths, err := filepath.Glob(filepath.Join(c.folder, "[^.]*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			read, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			found[filepath.Base(path)] = string(read)
		}
		return found
	}
	for _, want := range []map[string]string{{"a": "1"}, {"a": "2", "b": "1"}, {"b": "3"}, {}, {"a": "4"}} {
		keys := map[string][]byte{}
		for key, text := range want {
			keys[key] = []byte(text)
		}
		c.Write(t, keys)
		got := content()
		if len(got) != len(want) {
			t.Errorf("the volume has %v, want %v", got, want)
		}
		for key, text := range want {
			if got[key] != text {
				t.Errorf("%s is %q, want %q", key, got[key], text)
			}
		}
		if versions, _ := filepath.Glob(filepath.Join(c.folder, "..version_*")); len(versions) != 1 {
			t.Errorf("the versions %v are there, want one", versions)
		}
	}
}

func TestConfigMapVolumes(t *testing.T) {
	p := NewPod(t, "pod")
	p.ConfigMaps = map[string]*ConfigMap{"there": NewConfigMap(t)}
	volume := func(name string, optional bool) *corev1.Volume {
		v := &corev1.Volume{Name: "v"}
		v.ConfigMap = &corev1.ConfigMapVolumeSource{Optional: &optional}
		v.ConfigMap.Name = name
		return v
	}
	if folder, err := p.volume(t, volume("there", false)); err != nil || folder != p.ConfigMaps["there"].folder {
		t.Errorf("a ConfigMap that is there: %q, %v", folder, err)
	}
	if _, err := p.volume(t, volume("missing", true)); err != nil {
		t.Errorf("an optional one that is not: %v", err)
	}
	if _, err := p.volume(t, volume("missing", false)); err == nil {
		t.Error("a pod starts without a ConfigMap that it needs")
	}
}

// Containers ask the cluster's DNS, which says what it was last told.
func TestDNS(t *testing.T) {
	p := NewPod(t, "pod")
	p.DNS = NewDNS(t)
	lookup := func() []string {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return p.Dial(ctx, network, net.JoinHostPort(p.DNS.Address.String(), "53"))
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		found, err := resolver.LookupHost(ctx, "shop.test.")
		if missing, ok := err.(*net.DNSError); err != nil && (!ok || !missing.IsNotFound) { //nolint:errorlint // the resolver's own
			t.Fatal(err)
		}
		slices.Sort(found)
		return found
	}
	if got := lookup(); len(got) != 0 {
		t.Errorf("a name that nobody set leads to %s", got)
	}
	p.DNS.Set("shop.test", p.IPv4, p.IPv6)
	if got, want := lookup(), []string{p.IPv4.String(), p.IPv6.String()}; !slices.Equal(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	p.DNS.Set("shop.test")
	if got := lookup(); len(got) != 0 {
		t.Errorf("a name that is gone leads to %s", got)
	}
	if got := p.DNS.Queries("shop.test"); got < 3 {
		t.Errorf("%d queries were counted", got)
	}
	c := p.StartContainer(t, container("cat /etc/resolv.conf"), Base(), map[string]string{"shared": t.TempDir()})
	if code := c.Wait(t, 10*time.Second); code != 0 || !strings.Contains(c.Logs(), "nameserver "+p.DNS.Address.String()+"\n") {
		t.Errorf("a container's resolv.conf: exit code %d, %q", code, c.Logs())
	}
}

// A Service spreads connections over its pods, and those that come later get theirs.
func TestServicesSpreadConnections(t *testing.T) {
	a, b, from := NewPod(t, "a"), NewPod(t, "b"), NewPod(t, "from")
	for _, p := range []*Pod{a, b} {
		p.Serve(t, "80", func(l net.Listener) error {
			for {
				c, err := l.Accept()
				if err != nil {
					return err
				}
				_, _ = io.WriteString(c, p.Name)
				_ = c.Close()
			}
		})
	}
	service := NewService(t, a)
	reached := func() map[string]bool {
		seen := map[string]bool{}
		for range 4 {
			for _, address := range []string{service.IPv4.String(), service.IPv6.String()} {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				c, err := from.Dial(ctx, "tcp", net.JoinHostPort(address, "80"))
				cancel()
				if err != nil {
					t.Fatal(err)
				}
				name, _ := io.ReadAll(c)
				_ = c.Close()
				seen[string(name)] = true
			}
		}
		return seen
	}
	if got := reached(); !got["a"] || got["b"] {
		t.Errorf("connections to a Service of one pod reach %v", got)
	}
	service.Lead(t, a, b)
	if got := reached(); !got["a"] || !got["b"] {
		t.Errorf("connections to a Service of two pods reach %v", got)
	}
}
