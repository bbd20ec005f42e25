package v1alpha1

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// longKeepAlive is longer than most servers keep a connection open that is not
// used: Node.js 5 s, Tomcat 20 s, nginx 75 s.
const longKeepAlive = time.Minute

const (
	httpPort, otherHTTPPort   = 80, 8080
	httpsPort, otherHTTPSPort = 443, 8443
)

// WarnMeshService says what a valid document, with its defaults, probably does not
// mean. Each begins with the path of the field.
func WarnMeshService(mesh *MeshService) []string {
	var w warnings
	spec := field.NewPath("spec")
	for n := range mesh.Spec.Inbound {
		w.inbound(&mesh.Spec.Inbound[n], spec.Child("inbound").Index(n))
	}
	for n := range mesh.Spec.Egress {
		w.destination(&mesh.Spec.Egress[n], spec.Child("egress").Index(n))
	}
	w.routes(mesh.Spec.Egress, spec.Child("egress"))
	w.connecting(&mesh.Spec, spec.Child("egress"))
	if mesh.Spec.UndeclaredEgress == UndeclaredRefused && len(mesh.Spec.Egress) == 0 {
		w.add(spec.Child("undeclaredEgress"), "is Refused and egress is empty: the app can call nothing that is led through the sidecar")
	}
	return w
}

type warnings []string

func (w *warnings) add(path *field.Path, format string, args ...any) {
	*w = append(*w, path.String()+": "+fmt.Sprintf(format, args...))
}

func (w *warnings) inbound(port *InboundPort, path *field.Path) {
	w.reserved(port.Port, path.Child("port"))
	if port.Port == httpsPort || port.Port == otherHTTPSPort {
		for _, f := range port.httpOnly() {
			if f.is {
				w.add(path.Child(f.name), "is about requests, and on port %d the app usually speaks TLS itself: then only bytes are seen, and it does nothing", port.Port)
			}
		}
	}
	if port.Timeout != nil && port.Timeout.Duration == 0 {
		w.add(path.Child("timeout"), "0s is no timeout, as if it were left out")
	}
	if age := port.MaxConnectionAge; age != nil && age.Duration > 0 && age.Duration <= DefaultConnectionAge {
		w.add(path.Child("maxConnectionAge"), "%s is not above %s, to which the sidecars of clients keep connections: the server would end them while they are used",
			shortDuration(age.Duration), shortDuration(DefaultConnectionAge))
	}
}

func (w *warnings) destination(to *Destination, path *field.Path) {
	w.reserved(to.Port, path.Child("port"))
	w.host(to, path.Child("host"))
	if to.Port == httpsPort && to.Protocol.IsHTTP() {
		w.add(path.Child("protocol"), "is %s, and on port %d the app usually speaks TLS itself: then no request is seen; protocol TLS is what goes with it", to.Protocol, httpsPort)
	}
	if to.Protocol == ProtocolTCP {
		w.bytes(to, path)
	}
	timeout := time.Duration(0)
	if to.Timeout != nil {
		if timeout = to.Timeout.Duration; timeout == 0 {
			w.add(path.Child("timeout"), "0s is no timeout, as if it were left out")
		}
	}
	if client := to.ClientTimeout; client != nil && timeout > 0 && client.Duration > timeout {
		w.add(path.Child("clientTimeout"), "%s is longer than timeout, %s: after %s the app gets a 504 from the sidecar, not its own deadline",
			shortDuration(client.Duration), shortDuration(timeout), shortDuration(timeout))
	}
	if idle := to.IdleTimeout; idle != nil && idle.Duration > longKeepAlive {
		w.add(path.Child("idleTimeout"), "%s is longer than many servers keep a connection (Node.js 5s, nginx 75s): requests fail that meet its end",
			shortDuration(idle.Duration))
	}
	if to.Retries != nil {
		w.retries(to, timeout, path.Child("retries"))
	}
}

// host is about a name that is a Service's, of which apps say others as well: what they
// call by those would not be this destination.
func (w *warnings) host(to *Destination, path *field.Path) {
	name := strings.TrimSuffix(to.Host, ".cluster.local")
	parts := strings.Split(name, ".")
	switch {
	case to.Host == "" || to.Protocol == ProtocolTCP:
	case len(parts) == 1:
		w.add(path, "is a name without a domain, as a Service has: then service: {name: %s} is all of its names, and not this one alone", name)
	case len(parts) == 3 && parts[2] == "svc":
		w.add(path, "is one of the names of a Service: service: {name: %s, namespace: %s} is all of them, as %s.%s", parts[0], parts[1], parts[0], parts[1])
	}
}

// bytes are known by their port alone, so all that go to the port of another host are
// this destination, too: hardly what is meant of a port on which many hosts are called.
func (w *warnings) bytes(to *Destination, path *field.Path) {
	instead := map[int32]Protocol{httpsPort: ProtocolTLS, httpPort: ProtocolHTTP, otherHTTPPort: ProtocolHTTP}[to.Port]
	if instead != "" {
		w.add(path.Child("protocol"), "is TCP: whatever is called on port %d is this destination, whatever the host; protocol %s tells hosts apart", to.Port, instead)
	}
}

func (w *warnings) retries(to *Destination, timeout time.Duration, path *field.Path) {
	retries := to.Retries
	again := slices.Contains(retries.When, RetryReset) || slices.Contains(retries.When, RetryUnavailable)
	tries, all := int64(*retries.Attempts)+1, time.Duration(0)
	if perTry := retries.PerTryTimeout; perTry != nil {
		all = time.Duration(tries * int64(perTry.Duration))
	}
	switch perTry := retries.PerTryTimeout; {
	case timeout == 0 && perTry == nil:
		w.add(path, "there is neither timeout nor perTryTimeout: a request that hangs is never tried again, and nothing bounds all of its attempts")
	case perTry != nil && !again:
		w.add(path.Child("perTryTimeout"), "matters only where when has Reset or Unavailable: no other request is tried again once it is sent, so it has all of timeout")
	case timeout > 0 && all > timeout:
		w.add(path.Child("perTryTimeout"), "%d attempts of %s take up to %s, and timeout ends them after %s",
			tries, shortDuration(perTry.Duration), shortDuration(all), shortDuration(timeout))
	}
	if !again && len(retries.SafeMethods) > 0 {
		w.add(path.Child("safeMethods"), "matters only where when has Reset or Unavailable: the other conditions are safe for every method")
	}
	if again && len(retries.SafeMethods) == 0 && to.Protocol == ProtocolGRPC {
		w.add(path.Child("when"), "gRPC methods are not retried on Reset and Unavailable, unless safeMethods lists them")
	}
}

// reserved is for ports that the redirect leaves out, if nobody says otherwise.
func (w *warnings) reserved(port int32, path *field.Path) {
	for _, known := range WellKnownReservedPorts() {
		if known.Port.IntVal == port {
			w.add(path, "%d is reserved for %s and does not come to the sidecar, unless the configuration or the pods' annotations take it back", port, known.Protocol)
		}
	}
}
