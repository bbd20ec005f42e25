package bootstrap

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
)

const (
	// packAbove is how large a file may be that stays as people can read it, in bytes. A
	// thousand destinations take three megabytes, and a ConfigMap holds one.
	packAbove = 128 << 10
	// MaxGeneration bounds a file that was unpacked, in bytes: a small one could become
	// whatever somebody likes.
	MaxGeneration = 16 << 20
	// maxConfigMap is how much kube-apiserver lets a ConfigMap hold, keys included.
	maxConfigMap = 1 << 20
)

// TooLargeError is about a file that no ConfigMap or no pod takes.
type TooLargeError struct {
	// File and Packed are its bytes, and those of it when compressed.
	File, Packed int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%d bytes, and %d when compressed; pods take %d, and a ConfigMap %d", e.File, e.Packed, MaxGeneration, maxConfigMap)
}

// Pack makes of what Seal wrote what a ConfigMap carries: the same, or the same compressed.
// ParseGeneration reads both. The same file gives the same bytes. What cannot be carried is
// a *TooLargeError.
func Pack(file []byte) ([]byte, error) {
	if len(file) <= packAbove {
		return file, nil
	}
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	if _, err := writer.Write(file); err != nil {
		return nil, fmt.Errorf("compressing a generation: %w", err)
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("compressing a generation: %w", err)
	}
	if packed.Len()+len(GenerationFile) > maxConfigMap || len(file) > MaxGeneration {
		return nil, &TooLargeError{File: len(file), Packed: packed.Len()}
	}
	return packed.Bytes(), nil
}

// IsPacked tells the two apart: JSON begins with a brace.
func IsPacked(data []byte) bool { return bytes.HasPrefix(data, []byte{0x1f, 0x8b}) }

// unpack takes back what Pack did.
func unpack(data []byte) ([]byte, error) {
	if !IsPacked(data) {
		return data, nil
	}
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("reading a compressed generation of %d bytes: %w", len(data), err)
	}
	file, err := io.ReadAll(io.LimitReader(reader, MaxGeneration+1))
	if err != nil {
		return nil, fmt.Errorf("reading a compressed generation of %d bytes: %w: it was cut or changed", len(data), err)
	}
	if len(file) > MaxGeneration {
		return nil, fmt.Errorf("reading a compressed generation: it has more than %d bytes", MaxGeneration)
	}
	return file, nil
}
