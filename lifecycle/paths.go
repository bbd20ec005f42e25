package lifecycle

// Where the volumes that are added to a pod are mounted, in pillion-init and in the sidecar.
const (
	// BinDir is where pillion-init copies pillion-proxy to.
	BinDir = "/pillion/bin"
	// ProxyPath is the copy, which the envoy container runs.
	ProxyPath = BinDir + "/pillion-proxy"
	// RunDir holds the bootstrap, the admin socket and other state of one sidecar.
	RunDir = "/pillion/run"
	// MeshDir is where kubelet puts what the service's MeshService was rendered to, in
	// the sidecar alone. It is empty where there is no MeshService.
	MeshDir = "/pillion/mesh"
)
