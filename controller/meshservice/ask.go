package meshservice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/pillion-mesh/pillion/lifecycle"
)

const (
	// askTimeout bounds one question, with everything that belongs to it.
	askTimeout = 2 * time.Second
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 64 << 10
	// maxReason bounds what is repeated of an answer, in bytes.
	maxReason = 1024
)

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
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("asking %s: reading the answer: %w", url, err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("asking %s: the answer has more than %d bytes", url, maxAnswer)
	}
	var status lifecycle.MeshStatus
	if err := json.Unmarshal(body, &status); err != nil {
		return nil, fmt.Errorf("asking %s: reading the answer: %w", url, err)
	}
	status.Reason = plain(status.Reason)
	return &status, nil
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

// plain is one line that a terminal shows and does not obey.
func plain(text string) string {
	text = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "\uFFFD"))
	return shorten(strings.Join(strings.Fields(text), " "), maxReason)
}
