package meshservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/pillion-mesh/pillion/lifecycle"
)

// askTimeout bounds one question, with everything that belongs to it.
const askTimeout = 2 * time.Second

// asker asks sidecars what they run. A pod is not trusted: whoever owns one answers as he
// likes. So nothing is sent to it that is worth having, no redirect is followed, and what it
// says is bounded in time and size and only ever shown as what it said.
type asker struct {
	client *http.Client
	port   uint16
}

func newAsker(port uint16, dial func(ctx context.Context, network, address string) (net.Conn, error)) *asker {
	if dial == nil {
		dial = (&net.Dialer{Timeout: askTimeout}).DialContext
	}
	return &asker{port: port, client: &http.Client{
		Transport: &http.Transport{
			// No proxy from the environment: the address is the pod's.
			DialContext: dial, DisableKeepAlives: true, DisableCompression: true,
			ResponseHeaderTimeout: askTimeout, MaxResponseHeaderBytes: 8 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       askTimeout,
	}}
}

// ask asks the sidecar of the pod with this address.
func (a *asker) ask(ctx context.Context, podIP string) (*lifecycle.MeshStatus, error) {
	address, err := podAddress(podIP)
	if err != nil {
		return nil, err
	}
	url := "http://" + netip.AddrPortFrom(address, a.port).String() + lifecycle.MeshStatusPath
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", url, err)
	}
	request.Header.Set("User-Agent", "pillion-controller")
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err // it names the URL
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking %s: HTTP %d: a sidecar of an older version, or none", url, response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, lifecycle.MaxMeshStatus+1))
	if err != nil {
		return nil, fmt.Errorf("asking %s: reading the answer: %w", url, err)
	}
	status, err := lifecycle.ParseMeshStatus(body)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", url, err)
	}
	return status, nil
}

// podAddress is that of a pod. Whoever may write a pod's status could name any address: those
// that lead to this machine or to a cloud's metadata are not asked.
func podAddress(podIP string) (netip.Addr, error) {
	address, err := netip.ParseAddr(podIP)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("reading the pod's address: %w", err)
	}
	address = address.Unmap()
	if !address.IsGlobalUnicast() || address.Zone() != "" {
		return netip.Addr{}, errors.New("the pod's address " + address.String() + " is none of a network's")
	}
	return address, nil
}
