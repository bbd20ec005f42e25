package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strconv"
	"time"
)

// review is what of an AdmissionReview of a pod is used here.
type review struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Request    *request  `json:"request,omitempty"`
	Response   *response `json:"response,omitempty"`
}

type request struct {
	UID    string `json:"uid"`
	Object struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
		Spec struct {
			InitContainers []map[string]any `json:"initContainers"`
		} `json:"spec"`
	} `json:"object"`
}

type response struct {
	UID       string `json:"uid"`
	Allowed   bool   `json:"allowed"`
	Patch     []byte `json:"patch,omitempty"`
	PatchType string `json:"patchType,omitempty"`
}

// operation of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from,omitempty"`
	Value any    `json:"value,omitempty"`
}

// damage serves a mutating webhook that does to pods what some do by mistake, as the
// path says: /strip takes away the sidecar's restartPolicy, as one that is older than the
// field does, and /rebuild also what init containers had not before it; /reorder puts the sidecar first; /note only adds an annotation, so
// that kube-apiserver asks other webhooks again.
func damage(ctx context.Context, certificates string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /strip", answer(without("restartPolicy")))
	mux.HandleFunc("POST /rebuild", answer(without("restartPolicy", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle")))
	mux.HandleFunc("POST /reorder", answer(reorder))
	mux.HandleFunc("POST /note", answer(note))
	server := &http.Server{Addr: ":8443", Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	err := server.ListenAndServeTLS(filepath.Join(certificates, "tls.crt"), filepath.Join(certificates, "tls.key"))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func answer(patch func(*request) []operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var asked review
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.Request == nil {
			http.Error(w, "not a review", http.StatusBadRequest)
			return
		}
		answered := review{APIVersion: asked.APIVersion, Kind: asked.Kind, Response: &response{UID: asked.Request.UID, Allowed: true}}
		if operations := patch(asked.Request); len(operations) > 0 {
			answered.Response.PatchType = "JSONPatch"
			answered.Response.Patch, _ = json.Marshal(operations)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(&answered)
	}
}

// sidecar is where Envoy is among the init containers; -1 for nowhere.
func sidecar(r *request) int {
	for n, c := range r.Object.Spec.InitContainers {
		if c["name"] == "envoy" {
			return n
		}
	}
	return -1
}

// without takes fields away from the sidecar.
func without(fields ...string) func(*request) []operation {
	return func(r *request) []operation {
		n := sidecar(r)
		if n < 0 {
			return nil
		}
		var all []operation
		for _, field := range fields {
			if _, has := r.Object.Spec.InitContainers[n][field]; has {
				all = append(all, operation{Op: "remove", Path: at(n) + "/" + field})
			}
		}
		return all
	}
}

func reorder(r *request) []operation {
	if n := sidecar(r); n > 0 {
		return []operation{{Op: "move", From: at(n), Path: at(0)}}
	}
	return nil
}

func note(r *request) []operation {
	if r.Object.Metadata.Annotations["example.com/note"] != "" {
		return nil
	}
	if r.Object.Metadata.Annotations == nil {
		return []operation{{Op: "add", Path: "/metadata/annotations", Value: map[string]string{"example.com/note": "seen"}}}
	}
	return []operation{{Op: "add", Path: "/metadata/annotations/example.com~1note", Value: "seen"}}
}

func at(initContainer int) string { return "/spec/initContainers/" + strconv.Itoa(initContainer) }
