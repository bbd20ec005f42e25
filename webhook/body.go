package webhook

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// maxBody of a request, in bytes. kube-apiserver accepts objects of up to
	// 3 MiB itself, and etcd less.
	maxBody = 3 << 20
	// firstBuffer is the size of a body's buffer before it grows: most reviews
	// have less.
	firstBuffer = 16 << 10
	// maxPooledBuffer is the size of the largest buffer that is kept for later
	// requests, so that some large pods do not raise memory for good.
	maxPooledBuffer = 256 << 10
	// maxGrownBytes is what the buffers of all requests together may have grown
	// beyond firstBuffer. Without it, slow clients with large bodies would each
	// hold 3 MiB for as long as their deadline allows.
	maxGrownBytes = 64 << 20
)

// bodies reads request bodies into buffers that are used again, bounded one by
// one and together. The zero value is ready.
type bodies struct {
	pool sync.Pool
	// grown counts the bytes beyond firstBuffer of the buffers in use.
	grown atomic.Int64
}

// body is a request's body. Its bytes are valid until it is released.
type body struct {
	bytes []byte
	from  *bodies
}

// read takes in a whole body. A body that is too large, incomplete or too late is
// the client's mistake; one for which there is no memory is overload.
func (b *bodies) read(r io.Reader) (*body, *failure) {
	result, pooled := b.pool.Get().(*body)
	if !pooled {
		result = &body{bytes: make([]byte, 0, firstBuffer), from: b}
	}
	b.grown.Add(result.grownBytes())
	for {
		n, err := r.Read(result.bytes[len(result.bytes):cap(result.bytes)])
		result.bytes = result.bytes[:len(result.bytes)+n]
		switch {
		case err == io.EOF:
			return result, nil
		case err != nil:
			result.release()
			return nil, readFailure(err)
		case len(result.bytes) > maxBody:
			result.release()
			return nil, badReview(http.StatusRequestEntityTooLarge, fmt.Errorf("the body has more than %d bytes", maxBody))
		}
		if len(result.bytes) == cap(result.bytes) && !result.grow() {
			result.release()
			return nil, overload(errors.New("the bodies of other requests take all memory that there is for them"))
		}
	}
}

// grow doubles the buffer, if there is memory for it.
func (b *body) grow() bool {
	more := int64(cap(b.bytes))
	if b.from.grown.Add(more) > maxGrownBytes {
		b.from.grown.Add(-more)
		return false
	}
	larger := make([]byte, len(b.bytes), cap(b.bytes)*2)
	copy(larger, b.bytes)
	b.bytes = larger
	return true
}

func (b *body) grownBytes() int64 { return int64(cap(b.bytes) - firstBuffer) }

// release gives the buffer back.
func (b *body) release() {
	b.from.grown.Add(-b.grownBytes())
	if cap(b.bytes) > maxPooledBuffer {
		return
	}
	b.bytes = b.bytes[:0]
	b.from.pool.Put(b)
}

func readFailure(err error) *failure {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return badReview(http.StatusRequestTimeout, errors.New("the body did not arrive in the time that the request allows"))
	}
	return badReview(http.StatusBadRequest, fmt.Errorf("reading the body: %w", err))
}

// checkHeader rejects, before its body is read, what cannot be a review.
func checkHeader(r *http.Request) *failure {
	if r.Method != http.MethodPost {
		return badReview(http.StatusMethodNotAllowed, fmt.Errorf("the method is %q; accepted is POST", clip(r.Method)))
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return badReview(http.StatusUnsupportedMediaType, fmt.Errorf("the content encoding is %q; accepted is none", clip(encoding)))
	}
	contentType := r.Header.Get("Content-Type")
	if contentType != "application/json" && !isUTF8JSON(contentType) {
		return badReview(http.StatusUnsupportedMediaType, fmt.Errorf("the content type is %q; accepted is application/json", clip(contentType)))
	}
	if r.ContentLength > maxBody {
		return badReview(http.StatusRequestEntityTooLarge, fmt.Errorf("the body has %d bytes; accepted are up to %d", r.ContentLength, maxBody))
	}
	return nil
}

func isUTF8JSON(contentType string) bool {
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "application/json" {
		return false
	}
	for name, value := range parameters {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}
