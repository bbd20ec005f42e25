# Everything that is done in this repository, by name. `make help` lists it.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help

# Written into the programs and into each pod's status annotation.
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The same source and VERSION give the same bytes, wherever they are built: no paths, no
# state of git, and nothing of the machine's C compiler. `make reproducible` holds it.
GOBUILD  := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-X github.com/pillion-mesh/pillion/injector.Version=$(VERSION)'
# What is built, and where it goes.
PROGRAMS ?= ./cmd/...
BIN      ?= bin
# What `make images` makes images for.
ARCHITECTURES ?= amd64 arm64
# More images than the chart needs: iptables is pillion-init for kernels without nf_tables,
# made of Debian packages. `make images VARIANTS=` leaves it out.
VARIANTS ?= iptables
# How long `make fuzz` spends on each fuzzer.
FUZZTIME ?= 30s
# How long the longest test of `make soak` goes on.
SOAK     ?= 1h
# `make bench` goes through all of its benchmarks ROUNDS times, so that what else
# the machine does meets each of them alike.
ROUNDS    ?= 1
BENCHTIME ?= 1s
# golangci-lint from hack/tools/go.mod; Go keeps the built program in its cache.
LINT     := go tool -modfile=hack/tools/go.mod golangci-lint
# What runs many requests at once is tested with the race detector as well, but for
# the load: with the detector a request takes ten times as long.
RACE     := -skip '^TestSixHundredConnectionsAtOnce$$' ./injector/... ./webhook/... ./cmd/pillion-webhook/... ./proxy/...

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A KUBECONFIG of the environment is not used: nobody's cluster is to be touched by surprise.
.PHONY: demo
demo: ## show an injection: offline, by a real kube-apiserver, and as root on a node; or KUBECONFIG=FILE [PUSH=...]
	@hack/packages demo
	@go build -o bin/demo ./hack/demo && exec bin/demo -tag "$(VERSION)" \
	  -kubeconfig "$(if $(filter command,$(firstword $(origin KUBECONFIG))),$(KUBECONFIG))" -push "$(PUSH)"

# For a node of our own the machine's architecture is enough.
DEMO_ARCHITECTURES = $(if $(PUSH),$(ARCHITECTURES),$(shell go env GOARCH))
.PHONY: demo-images demo-app
demo-images: # the images of the demo's third part
	@$(MAKE) images VARIANTS= ARCHITECTURES="$(DEMO_ARCHITECTURES)"
	@$(MAKE) demo-app
demo-app:
	@for arch in $(DEMO_ARCHITECTURES); do \
	  GOARCH=$$arch $(MAKE) build PROGRAMS=./hack/cluster/node/app BIN=bin/images/demo/$$arch >/dev/null && \
	  go run ./hack/sbom -version $(VERSION) -o bin/images/demo/$$arch bin/images/demo/$$arch/app || exit 1; \
	done
	@go run ./hack/images -only pillion-demo-app -version $(VERSION) -programs bin/images/demo -o bin/images $(if $(PUSH),-push $(PUSH))

.PHONY: build
build: ## build the programs into bin/
	$(GOBUILD) -o $(BIN)/ $(PROGRAMS)
	ln -sf pillionctl $(BIN)/kubectl-pillion
	cp hack/kubectl_complete-pillion $(BIN)/

.PHONY: reproducible
reproducible: ## build everything twice, for amd64 and arm64, and compare
	@hack/reproducible

.PHONY: sbom
sbom: build ## write what each program is made of beside it, as CycloneDX
	go run ./hack/sbom -version $(VERSION) -o $(BIN) $(addprefix $(BIN)/,$(notdir $(wildcard cmd/*)))

.PHONY: images
images: ## make the container images in bin/images, without Docker; PUSH=registry/repository pushes them
	@rm -rf bin/images
	@for arch in $(ARCHITECTURES); do \
	  GOARCH=$$arch $(MAKE) build BIN=bin/images/programs/$$arch >/dev/null && \
	  go run ./hack/sbom -version $(VERSION) -o bin/images/programs/$$arch $(addprefix bin/images/programs/$$arch/,$(notdir $(wildcard cmd/*))) || exit 1; \
	  $(if $(filter iptables,$(VARIANTS)),hack/iptables/fetch $$arch || exit 1;) \
	done
	@go run ./hack/images -version $(VERSION) -programs bin/images/programs -o bin/images \
	  $(if $(filter iptables,$(VARIANTS)),-iptables "$$(hack/iptables/fetch --print-dir)") $(if $(PUSH),-push $(PUSH))

.PHONY: e2e
e2e: ## test on a real node with kubelet and containerd, as root (compiled once)
	@hack/packages e2e
	@hack/e2e

.PHONY: vulncheck
vulncheck: ## look for known vulnerabilities; needs a way to vuln.go.dev, or GOVULNDB
	@hack/vulncheck

# One program, for the demo: always built, since only Go knows what is current.
.PHONY: bin/pillionctl bin/pillion-webhook
bin/pillionctl bin/pillion-webhook:
	@$(GOBUILD) -o $@ ./cmd/$(@F)

# The tests in e2e come one package after the other: some count what a load of
# requests loses, and are not to share the machine with another one's load. They build
# programs of their own, of which the cache of results knows nothing. The longest,
# e2e/dataplane, takes six minutes on two cores; slower ones have 30 for a package.
.PHONY: test
test: ## run every test, with a real etcd, kube-apiserver (compiled once), Envoy and Prometheus
	@hack/packages test
	@hack/envoy/fetch
	@hack/prometheus/fetch
	@hack/cluster/build control-plane helm helm3
	@go run ./hack/gotest -timeout 30m $$(go list ./... | grep -v /e2e)
	@go run ./hack/gotest -timeout 30m -count 1 -p 1 $$(go list ./e2e/... | grep -v /e2e/node)
	@go run ./hack/gotest -timeout 30m -race $(RACE)

.PHONY: soak
soak: ## the long forms of the tests under load, the longest for SOAK (1h)
	@hack/cluster/build control-plane helm helm3
	@PILLION_SOAK=$(SOAK) go test -timeout 6h -count 1 -v ./e2e/replicas
	@PILLION_SOAK=$(SOAK) go test -timeout 1h -parallel 4 -count 1 -v -run '^(TestThousandChanges|TestKilledInTheMiddle)$$' ./e2e/dataplane
	@[ $$(id -u) != 0 ] || { hack/packages e2e; PILLION_SOAK=$(SOAK) hack/e2e -v -run '^TestCreations$$'; }

.PHONY: fuzz
fuzz: ## run every fuzzer for FUZZTIME (30s)
	@hack/fuzz $(FUZZTIME)

.PHONY: bench
bench: ## measure admissions and, as root, the data plane, beside floors, ROUNDS times
	@[ $$(id -u) != 0 ] || { hack/packages test; hack/envoy/fetch; }
	@for round in $$(seq $(ROUNDS)); do go test ./bench ./bench/dataplane -run '^$$' -bench . -benchtime $(BENCHTIME) -count 1; done

.PHONY: lint
lint: ## run golangci-lint (compiled once)
	@$(LINT) run ./...

.PHONY: generate
generate: ## write the generated files anew
	go generate ./...

.PHONY: verify
verify: lint ## check formatting, module files and generated files, as a reviewer would
	@hack/verify

.PHONY: clean
clean: ## remove bin/
	rm -rf bin
	@echo "What Go and hack/cluster/build keep is outside the tree: $${PILLION_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/pillion}"
