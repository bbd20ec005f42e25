package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
)

// serving is the TLS configuration in force: a certificate and, where clients
// have to show one too, the authorities that theirs may come from. It starts with
// none, and then no handshake succeeds.
//
// A change of either makes a new tls.Config, with session ticket keys of its own:
// no session that was agreed on under the old one is resumed under the new one.
type serving struct {
	current atomic.Pointer[tls.Config]
}

// load puts a certificate into force, with its key and, unless nil, the
// authorities of clients; all in PEM. It returns the certificate.
func (s *serving) load(certificate, key, clientCAs []byte) (*x509.Certificate, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate and its key: %w", err)
	}
	config := baseTLS()
	config.Certificates = []tls.Certificate{pair}
	if clientCAs != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(clientCAs) {
			return nil, errors.New("reading the client CA file: there is no certificate in PEM in it")
		}
	}
	s.current.Store(config)
	return pair.Leaf, nil
}

// config for a listener: it takes what is in force at the time of each handshake.
func (s *serving) config() *tls.Config {
	config := baseTLS()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if current := s.current.Load(); current != nil {
			return current, nil
		}
		return nil, errors.New("no certificate was ever loaded; the log says why")
	}
	return config
}

// baseTLS offers HTTP/1.1 alone, which is what kube-apiserver speaks to webhooks:
// an HTTP/2 connection would carry all of an API server's requests to one
// replica.
func baseTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
}
