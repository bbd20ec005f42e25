package v1alpha1

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateEgress(mesh *MeshService, path *field.Path) field.ErrorList {
	egress := mesh.Spec.Egress
	errs := validateLength(len(egress), MaxDestinations, path)
	if errs != nil {
		return errs
	}
	targets := newTargets(egress)
	for n := range egress {
		to, at := &egress[n], path.Index(n)
		errs = slices.Concat(errs,
			validateDestinationName(to.Name, at.Child("name")),
			validateAddress(to, at),
			validateMeshPort(to.Port, at.Child("port")),
			validateWord("spec.egress[].protocol", at.Child("protocol"), &to.Protocol),
			validateDestinationBounds(to, at),
			validateRetries(to, at.Child("retries")),
			targets.validateRoutes(to, at.Child("routes")),
		)
		if !to.Protocol.IsHTTP() {
			with := fmt.Sprintf("protocol %s, of which only connections are seen: here connectTimeout and breakers.maxConnections are accepted", to.Protocol)
			errs = append(errs, forbidden(to.httpOnly(), at, with)...)
		}
	}
	return append(errs, validateDistinct(mesh, path)...)
}

// httpOnly are the fields that are about requests, or that need the destination's
// name: bytes go to the address that the app itself connected to, so a failing
// address cannot be avoided for it.
func (d *Destination) httpOnly() []given {
	breakers := d.Breakers
	if breakers == nil {
		breakers = &Breakers{}
	}
	return []given{
		{"timeout", d.Timeout != nil},
		{"clientTimeout", d.ClientTimeout != nil},
		{"retries", d.Retries != nil},
		{"breakers.maxPendingRequests", breakers.MaxPendingRequests != nil},
		{"breakers.maxRequests", breakers.MaxRequests != nil},
		{"outlierDetection", d.OutlierDetection != nil},
		{"maxConnectionAge", d.MaxConnectionAge != nil},
		{"idleTimeout", d.IdleTimeout != nil},
		{"dnsRefresh", d.DNSRefresh != nil},
		{"routes", len(d.Routes) > 0},
	}
}

// blackhole is the cluster that refused connections go to.
const blackhole = "blackhole"

func validateDestinationName(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "a short name for statistics and routes, as cart")}
	}
	if name == blackhole {
		return field.ErrorList{field.Invalid(path, name, "must not be blackhole: in statistics that is what is refused")}
	}
	for range validation.IsDNS1123Label(name) {
		return field.ErrorList{field.Invalid(path, name, "must be 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends")}
	}
	return nil
}

func validateAddress(to *Destination, path *field.Path) field.ErrorList {
	switch {
	case to.Host == "" && to.Service == nil:
		return field.ErrorList{field.Required(path.Child("host"), "give host (a DNS name) or service (a Kubernetes Service)")}
	case to.Host != "" && to.Service != nil:
		return field.ErrorList{field.Forbidden(path.Child("service"), "host is given, too: give one of them")}
	case to.Host != "":
		return validateHost(to.Host, path.Child("host"))
	}
	at := path.Child("service")
	if to.Service.Name == "" {
		return field.ErrorList{field.Required(at.Child("name"), "the name of a Kubernetes Service")}
	}
	var errs field.ErrorList
	for range validation.IsDNS1035Label(to.Service.Name) {
		errs = append(errs, field.Invalid(at.Child("name"), to.Service.Name, "must be the name of a Kubernetes Service: 1 to 63 of a-z, 0-9 and -, a letter first"+meantService(to.Service.Name)))
		break
	}
	return append(errs, validateNamespace(to.Service.Namespace, at.Child("namespace"))...)
}

// validateHost accepts names only. An address is no name that statistics or TLS
// could go by, and those of the machine (loopback, link-local and with it the
// clouds' metadata) are never led through the sidecar; so a host that means an
// address would do nothing or what nobody wanted.
func validateHost(host string, path *field.Path) field.ErrorList {
	last := host[strings.LastIndex(host, ".")+1:]
	var accepted string
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	switch {
	case err == nil, numeric.MatchString(last):
		// Resolvers take "127.1", "2130706433" and "0x7f.1" for addresses as well.
		accepted = "must be a DNS name as api.example.com, not an address: what is called by address is undeclared"
	case strings.HasPrefix(host, "*"):
		accepted = "must be one DNS name as api.example.com, without a wildcard"
	case strings.HasSuffix(host, "."):
		accepted = "must be without the dot at its end: clients leave it out of the host, too"
	case strings.Contains(host, ":"), strings.Contains(host, "/"):
		accepted = "must be a DNS name alone as api.example.com: the port has a field of its own"
	case strings.ToLower(host) != host:
		accepted = "must be in lower case, as " + strings.ToLower(host)
	case last == "localhost":
		accepted = "must not be the pod itself: loopback never comes to the sidecar"
	case host == metadataHost:
		accepted = "must not be the cloud's metadata service: it never comes to the sidecar"
	case len(validation.IsDNS1123Subdomain(host)) > 0:
		accepted = "must be a DNS name as api.example.com: a-z, 0-9, - and dots, at most 253"
	default:
		return nil
	}
	return field.ErrorList{field.Invalid(path, host, accepted)}
}

// metadataHost is the name of the only metadata service that is known by one.
const metadataHost = "metadata.google.internal"

// numeric is a last label that makes a name an address.
var numeric = regexp.MustCompile(`^([0-9]+|0[xX][0-9a-fA-F]*)$`)

func validateDestinationBounds(to *Destination, path *field.Path) field.ErrorList {
	errs := slices.Concat(
		validateTimeout(to.Timeout, path.Child("timeout")),
		validateMoment(to.ClientTimeout, path.Child("clientTimeout")),
		validateAge(to.MaxConnectionAge, path.Child("maxConnectionAge")),
		validateMoment(to.IdleTimeout, path.Child("idleTimeout")),
		validateMoment(to.ConnectTimeout, path.Child("connectTimeout")),
		validatePeriod(to.DNSRefresh, path.Child("dnsRefresh")),
	)
	if breakers, at := to.Breakers, path.Child("breakers"); breakers != nil {
		errs = slices.Concat(errs,
			validateLimit(breakers.MaxConnections, at.Child("maxConnections")),
			validateLimit(breakers.MaxPendingRequests, at.Child("maxPendingRequests")),
			validateLimit(breakers.MaxRequests, at.Child("maxRequests")),
		)
	}
	if outliers, at := to.OutlierDetection, path.Child("outlierDetection"); outliers != nil {
		errs = slices.Concat(errs,
			validateLimit(outliers.ConsecutiveErrors, at.Child("consecutiveErrors")),
			validatePeriod(outliers.EjectionTime, at.Child("ejectionTime")),
			validatePercent(outliers.MaxEjectedPercent, at.Child("maxEjectedPercent")),
		)
	}
	return errs
}

// validateDistinct holds what no two destinations may share, and names both.
func validateDistinct(mesh *MeshService, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names, claims := map[string]int{}, map[string]int{}
	for n := range mesh.Spec.Egress {
		to, at := &mesh.Spec.Egress[n], path.Index(n)
		if first, used := names[to.Name]; used && to.Name != "" {
			errs = append(errs, field.Invalid(at.Child("name"), to.Name, fmt.Sprintf("is the name of %s, too", path.Index(first))))
		} else {
			names[to.Name] = n
		}
		for _, claim := range to.claims(mesh.Namespace) {
			if first, used := claims[claim]; used {
				other := &mesh.Spec.Egress[first]
				errs = append(errs, field.Invalid(at.Child("port"), to.Port, fmt.Sprintf("%s is what %s (%s) is, too: put both into one entry", claim, path.Index(first), other.Name)))
				break
			}
			claims[claim] = n
		}
	}
	return errs
}

// claims are all that a destination is known by: no two may have one of them in
// common, since a request could belong to either.
func (d *Destination) claims(namespace string) []string {
	if d.Port == 0 {
		return nil
	}
	var claims []string
	for _, host := range d.Hosts(namespace) {
		claims = append(claims, fmt.Sprintf("%s:%d", host, d.Port))
	}
	if d.Protocol == ProtocolTCP {
		claims = append(claims, fmt.Sprintf("TCP to port %d, whatever the host,", d.Port))
	}
	return claims
}

// Hosts are all the names that an app in a namespace calls the destination by: for
// a Service the short ones too, that the pod's search domains complete.
func (d *Destination) Hosts(namespace string) []string {
	if d.Service == nil {
		if d.Host == "" {
			return nil
		}
		return []string{d.Host}
	}
	if d.Service.Name == "" {
		return nil
	}
	name, of := d.Service.Name, d.Service.Namespace
	var hosts []string
	if of == namespace {
		hosts = append(hosts, name)
	}
	if of != "" {
		name += "." + of
		hosts = append(hosts, name, name+".svc", name+".svc.cluster.local")
	}
	return hosts
}
