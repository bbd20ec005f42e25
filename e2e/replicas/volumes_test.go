package replicas

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// volumes are what kubelet mounts into one replica's pod: the ConfigMap and two
// keys of the Secret, brought up to date every period.
type volumes struct {
	client    client.Client
	folder    string
	configMap client.ObjectKey
	secret    client.ObjectKey
	writes    int
	last      map[string]map[string][]byte
}

// keep brings the volumes up to date until the end of the test.
func (v *volumes) keep(t *testing.T, period time.Duration) {
	t.Helper()
	v.last = map[string]map[string][]byte{}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			// What is missing is waited for, and what cannot be read is tried again.
			_ = v.sync(ctx)
			sleep(ctx, period)
		}
	}()
	t.Cleanup(func() { stop(); <-done })
}

func (v *volumes) sync(ctx context.Context) error {
	var configMap corev1.ConfigMap
	if err := v.client.Get(ctx, v.configMap, &configMap); err != nil {
		return err
	}
	config := map[string][]byte{}
	for name, text := range configMap.Data {
		config[name] = []byte(text)
	}
	if err := v.write("config", config); err != nil {
		return err
	}
	var secret corev1.Secret
	if err := v.client.Get(ctx, v.secret, &secret); err != nil {
		return err
	}
	pair := map[string][]byte{"tls.crt": secret.Data["tls.crt"], "tls.key": secret.Data["tls.key"]}
	if pair["tls.crt"] == nil || pair["tls.key"] == nil {
		return fmt.Errorf("Secret %s references non-existent keys", v.secret)
	}
	return v.write("tls", pair)
}

// write swaps a volume's content as kubelet does: a new folder, and a link to it
// that is renamed over the old one.
func (v *volumes) write(volume string, files map[string][]byte) error {
	if maps.EqualFunc(v.last[volume], files, bytes.Equal) {
		return nil
	}
	v.writes++
	root := filepath.Join(v.folder, volume)
	stamp := fmt.Sprintf("..stamp_%d", v.writes)
	if err := os.MkdirAll(filepath.Join(root, stamp), 0o700); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(root, stamp, name), content, 0o600); err != nil {
			return err
		}
	}
	next := filepath.Join(root, "..data_tmp")
	if err := os.Symlink(stamp, next); err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(root, "..data")); err != nil {
		return err
	}
	for name := range files {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(root, name)); err != nil && !os.IsExist(err) {
			return err
		}
	}
	v.last[volume] = files
	return nil
}
