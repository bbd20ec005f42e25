package e2e

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/pillion-mesh/pillion/injector"
)

// hostileValues are what a value must never be taken for anything else than.
func hostileValues() []string {
	return []string{
		"", " ", "\n", "a\nb", "x\r\nlevel: debug", "'", `"`, `\`, `"}],"spec":{"hostNetwork":true}`, "\x00", "a\x00b", "\x1b[31m",
		"\u202e\u2066gnp.exe\u2069", "\u200b1", "\ufeff1", "１", "$(HOME)", "$(POD_NAME)", "$$(X)", "{{ .Values }}", "{{", "&a *a", "*a", "!!int 1", "a: b", "- a", "#",
		"--log-level=trace", "-c /etc/passwd", "1;reboot", "`id`", "$(id)", "../../etc", "%s%n", "~0~1", "null", "true", strings.Repeat("9", 5000), strings.Repeat("1,", 3000) + "1",
	}
}

// TestAnnotationBytes: "annotation values: newline, quote, NUL, unicode bidi, $(VAR),
// {{, YAML anchors: rejected with field-level message, pod unchanged otherwise". In
// our annotations such a value is refused by the annotation's name, or read as what
// it says; in others it has no effect. An injected pod is the original and exactly
// our parts in any case.
func TestAnnotationBytes(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	refused, injected := 0, 0
	for _, value := range hostileValues() {
		for _, a := range injector.Annotations() {
			key := injector.AnnotationPrefix + a.Name
			pod := appPod("bytes")
			pod.Annotations = map[string]string{key: value, "example.com/other": value}
			if _, err := w.createIn(t, w.meshed, pod); err == nil {
				injected++
				w.create(t, pod)
				continue
			}
			refused++
			w.checkRefused(t, pod, injector.ReasonAnnotationValue, "metadata.annotations["+key+"]")
		}
	}
	t.Logf("%d values were refused, %d were read", refused, injected)
	if refused < 400 {
		t.Errorf("only %d values were refused", refused)
	}
}

// TestForeignAnnotationBytes: the same values where they are none of our business,
// and where somebody misspelled one of ours.
func TestForeignAnnotationBytes(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	pod := appPod("unknown")
	want, _ := w.create(t, pod)
	for _, value := range hostileValues() {
		for _, key := range []string{"pillion.dev/log-levle", "example.com/pillion", "cluster-autoscaler.kubernetes.io/safe-to-evict"} {
			pod.Annotations = map[string]string{key: value}
			got, _ := w.create(t, pod)
			// It also changes nothing about our parts.
			if !bytes.Equal(asJSON(t, got.Spec), asJSON(t, want.Spec)) {
				t.Errorf("%s: %q changes the pod's spec", key, value)
			}
		}
		// These two Pillion adds to, and they are not Pillion's own.
		pod.Annotations = map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": value, "kubectl.kubernetes.io/default-container": value}
		for _, mode := range modes() {
			pod.Annotations["pillion.dev/mode"] = mode
			w.create(t, pod)
		}
		// A status that somebody made up is replaced.
		pod.Annotations = map[string]string{injector.StatusAnnotation: value}
		got, err := w.createIn(t, w.meshed, pod)
		if err != nil {
			t.Fatal(err)
		}
		if got.Annotations[injector.StatusAnnotation] != want.Annotations[injector.StatusAnnotation] {
			t.Errorf("a status of %q was not replaced: %s", value, got.Annotations[injector.StatusAnnotation])
		}
	}
}

// TestLongAnnotations: "256 KiB". What is long but allowed does no harm; what
// kube-apiserver does not take is refused by its name.
func TestLongAnnotations(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	long := strings.Repeat("x", 250<<10)
	for _, key := range []string{"example.com/long", "pillion.dev/unknown"} {
		pod := podWith(key, long)
		w.create(t, pod)
	}
	for _, a := range injector.Annotations() {
		pod := podWith("pillion.dev/"+a.Name, long)
		_, err := w.createIn(t, w.meshed, pod)
		if err == nil || len(err.Error()) > 2000 || !strings.Contains(err.Error(), "metadata.annotations[pillion.dev/"+a.Name+"]") {
			t.Errorf("%s of 250 KiB: %v", a.Name, err)
		}
	}
	pod := appPod("too-long")
	pod.Annotations = map[string]string{"example.com/long": strings.Repeat("x", 256<<10)}
	if _, err := w.createIn(t, w.meshed, pod); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "metadata.annotations") {
		t.Errorf("256 KiB: %v", err)
	}
}

// TestPortLists: "port lists: 0, 65536, -1, ' 80', '80-90', dup, 1000 entries, trailing
// comma: strict parse".
func TestPortLists(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	many := make([]string, 1000)
	for i := range many {
		many[i] = "9042"
	}
	for _, direction := range []string{"inbound", "outbound"} {
		key := "pillion.dev/reserved-" + direction + "-ports"
		for _, list := range []string{"0", "65536", "-1", " 80", "80 ", "80,", ",80", "80,,81", "90-80", "80-", "-80", "80-90-100", "+80", "080", "0x50", "80;81", "http", "!80", "!", "!!3306", "80.0", "1e3", "65535-65536", "0-10"} {
			pod := podWith(key, list)
			w.checkRefused(t, pod, injector.ReasonAnnotationValue, "metadata.annotations["+key+"]")
		}
		for list, want := range map[string]struct{ with, without string }{
			"80":                    {with: ",80,"},
			"80-90":                 {with: ",80-90,"},
			"90,80-90,85,80":        {with: ",80-90,"},
			"65535":                 {with: ",65535,"},
			"1":                     {with: ",1,"},
			"26000,26001,26002":     {with: ",26000-26002,"},
			strings.Join(many, ","): {with: ",9042,"},
			"!3306":                 {without: ",3306,"},
			"9042,7000-7010,!3306":  {with: ",7000-7010,", without: ",3306,"},
			"!9042,4000,4001":       {with: ",4000-4001,", without: ",9042,"},
		} {
			meshed, _ := w.create(t, podWith(key, list))
			reserved := "," + argumentOf(t, meshed, "--reserved-"+direction+"=") + ","
			if !strings.Contains(reserved, want.with) || (want.without != "" && strings.Contains(reserved, want.without)) {
				t.Errorf("%q gives %s, want it with %q and without %q", list, reserved, want.with, want.without)
			}
		}
	}
}

// podWith is a pod with one annotation.
func podWith(key, value string) *corev1.Pod {
	pod := appPod("annotated")
	pod.Annotations = map[string]string{key: value}
	return pod
}

// TestCIDRLists: "CIDR lists v4/v6/mixed/host bits: normalised".
func TestCIDRLists(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	const key = "pillion.dev/excluded-cidrs"
	for _, list := range []string{"10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/08", "010.0.0.0/8", "10.0.0.0/8,", " 10.0.0.0/8", "10.0.0.0/8 ", "fe80::%eth0/64", "10.0.0.0/-1", "localhost", "10.0.0.0/255.0.0.0", "::ffff:10.0.0.0/104"} {
		pod := podWith(key, list)
		w.checkRefused(t, pod, injector.ReasonAnnotationValue, "metadata.annotations["+key+"]")
	}
	for list, want := range map[string][]string{
		"10.0.0.0/8":                            {"10.0.0.0/8"},
		"fd00::/8":                              {"fd00::/8"},
		"FD00:0:0:0::/8":                        {"fd00::/8"},
		"10.1.2.3/8,fd00::1/8":                  {"10.0.0.0/8", "fd00::/8"},
		"fd00::/8,10.1.0.0/16,0.0.0.0/0,::/0":   {"0.0.0.0/0", "::/0"},
		"10.1.0.0/16,10.1.0.0/16":               {"10.1.0.0/16"},
		"192.0.2.7/32,2001:0db8:0000::0001/128": {"192.0.2.7/32", "2001:db8::1/128"},
	} {
		pod := podWith(key, list)
		meshed, _ := w.create(t, pod)
		got := strings.Split(argumentOf(t, meshed, "--excluded-cidrs="), ",")
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%q gives %q, want %q", list, got, want)
		}
	}
}

// argumentOf is pillion-init's argument that starts so, without the start.
func argumentOf(t *testing.T, pod *corev1.Pod, start string) string {
	t.Helper()
	for _, argument := range container(t, pod, "pillion-init").Args {
		if value, ok := strings.CutPrefix(argument, start); ok {
			return value
		}
	}
	t.Fatalf("pillion-init has no argument %s: %q", start, container(t, pod, "pillion-init").Args)
	return ""
}
