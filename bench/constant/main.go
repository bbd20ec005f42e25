// Constant is the floor of the load run: an HTTPS server that reads each request
// and always allows.
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"
	"path/filepath"
	"time"
)

func main() {
	address := flag.String("address", "127.0.0.1:9443", "`address` to listen on")
	certDir := flag.String("cert-dir", ".", "`directory` with tls.crt and tls.key")
	uid := flag.String("uid", "", "request.uid of every answer")
	flag.Parse()
	answer, err := json.Marshal(map[string]any{
		"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": map[string]any{"uid": *uid, "allowed": true},
	})
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		Addr: *address, ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(answer)
		}),
	}
	log.Fatal(server.ListenAndServeTLS(filepath.Join(*certDir, "tls.crt"), filepath.Join(*certDir, "tls.key")))
}
