package webhook

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// Types of TLS records.
const (
	recordAlert       = 21
	recordHandshake   = 22
	recordApplication = 23
)

// A client that starts a second handshake on its connection, to make the server
// calculate, is turned away. Go's client never does, so the record is made here,
// with the keys of a connection that it set up.
func TestTLSRenegotiationRefused(t *testing.T) {
	r := start(t, nil)
	r.untilReady(t)
	request := "GET /mutate HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	for name, test := range map[string]struct {
		recordType byte
		want       byte
	}{
		"a request, to show that the record is well made": {recordApplication, recordApplication},
		"a handshake": {recordHandshake, recordAlert},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialTLS12(t, r)
			content := []byte(request)
			if test.recordType == recordHandshake {
				content = c.clientHello()
			}
			if _, err := c.wire.Write(c.seal(t, test.recordType, content)); err != nil {
				t.Fatal(err)
			}
			if err := c.wire.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(c.wire)
			if err != nil {
				t.Fatalf("the connection was not closed: %v", err)
			}
			if len(answer) == 0 || answer[0] != test.want {
				t.Errorf("got %x, want a record of type %d and the end", answer[:min(5, len(answer))], test.want)
			}
		})
	}
	if _, err := r.review(r.httpClient(t)); err != nil {
		t.Error(err)
	}
}

// tls12 is a TLS 1.2 connection, after its handshake, with what is needed to write
// records to it by hand.
type tls12 struct {
	wire           net.Conn
	sent, received bytes.Buffer
	keys           bytes.Buffer // in the format of SSLKEYLOGFILE
}

// recorder copies what goes over a connection.
type recorder struct {
	net.Conn
	to *tls12
}

func (r recorder) Write(b []byte) (int, error) {
	r.to.sent.Write(b)
	return r.Conn.Write(b)
}

func (r recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.to.received.Write(b[:n])
	return n, err
}

func dialTLS12(t *testing.T, r *running) *tls12 {
	t.Helper()
	wire, err := net.Dial("tcp", r.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wire.Close() })
	c := &tls12{wire: wire}
	config := r.client.Clone()
	config.MaxVersion = tls.VersionTLS12
	config.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	config.KeyLogWriter = &c.keys
	if err := tls.Client(recorder{wire, c}, config).Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

// clientHello is the handshake message that the connection began with.
func (c *tls12) clientHello() []byte {
	length := int(binary.BigEndian.Uint16(c.sent.Bytes()[3:]))
	return slices.Clone(c.sent.Bytes()[5 : 5+length])
}

// seal makes the client's second record under its keys (the first was Finished),
// as RFC 5246 and RFC 5288 say.
func (c *tls12) seal(t *testing.T, recordType byte, content []byte) []byte {
	t.Helper()
	line := strings.Fields(c.keys.String()) // CLIENT_RANDOM, the random, the master secret
	clientRandom, err := hex.DecodeString(line[1])
	if err != nil {
		t.Fatal(err)
	}
	master, err := hex.DecodeString(line[2])
	if err != nil {
		t.Fatal(err)
	}
	// Record header, message header, version, then the random.
	serverRandom := c.received.Bytes()[5+4+2:][:32]
	// Keys of 16 bytes for client and server, then IVs of 4 bytes.
	keys := pseudoRandom(master, slices.Concat([]byte("key expansion"), serverRandom, clientRandom), 16+16+4+4)
	block, err := aes.NewCipher(keys[:16])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	sequence := binary.BigEndian.AppendUint64(nil, 1)
	header := []byte{recordType, 3, 3}
	authenticated := binary.BigEndian.AppendUint16(slices.Concat(sequence, header), uint16(len(content)))
	sealed := gcm.Seal(nil, slices.Concat(keys[32:36], sequence), content, authenticated)
	record := binary.BigEndian.AppendUint16(header, uint16(len(sequence)+len(sealed)))
	return slices.Concat(record, sequence, sealed)
}

// pseudoRandom is P_SHA256 of RFC 5246, section 5.
func pseudoRandom(secret, seed []byte, length int) []byte {
	mac := func(parts ...[]byte) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write(slices.Concat(parts...))
		return h.Sum(nil)
	}
	var out []byte
	for a := mac(seed); len(out) < length; a = mac(a) {
		out = append(out, mac(a, seed)...)
	}
	return out[:length]
}
