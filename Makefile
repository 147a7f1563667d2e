# Varve's commands. `make help` lists them.
#
# On a fresh Debian or Ubuntu with git, make, Go and root the two that matter
# are `sudo make demo` and `sudo make test`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# sudo resets PATH. Go's own installer puts it here, and a distribution's Go in
# /usr/bin may be too old to fetch the one that go.mod asks for.
export PATH := /usr/local/go/bin:$(PATH):/usr/sbin:/sbin
ifeq ($(shell PATH='$(PATH)' command -v go),)
ifneq ($(filter-out help clean uninstall,$(MAKECMDGOALS)),)
$(error no Go found in PATH or /usr/local/go/bin; see https://go.dev/doc/install)
endif
endif
# Go keeps its caches at home. Under some init systems there is no HOME, and
# under some sudos it is another user's, who could not write there any more.
ifneq ($(shell stat -c %u "$${HOME:-/nonexistent}" 2>/dev/null),$(shell id -u))
export HOME := $(shell getent passwd $$(id -u) | cut -d: -f6)
endif

PREFIX  ?= /usr/local
BINDIR  ?= $(PREFIX)/bin
CNIBIN  ?= /opt/cni/bin
CNICONF ?= /etc/cni/net.d
UNITDIR ?= /lib/systemd/system
DESTDIR ?=

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT   := $(shell git rev-parse HEAD 2>/dev/null)
IDENTITY := github.com/varve-project/varve/internal/version
LDFLAGS  := -s -w -X $(IDENTITY).number=$(VERSION) -X $(IDENTITY).commit=$(COMMIT)
# Go would ask git for the commit and give up where git does not trust the
# folder's owner (root in somebody's clone); the linker flags say it instead.
export GOFLAGS += -buildvcs=false
# Tests drive the binaries built here instead of building their own.
TALLY    := VARVE_BIN=$(CURDIR)/bin VARVE_BIN_FAILPOINT=$(CURDIR)/bin/failpoint VARVE_PEERS=$(CURDIR)/bin/peers go run ./test/tools/tally
COMMANDS := $(patsubst cmd/%/main.go,%,$(wildcard cmd/*/main.go))
PACKAGES ?= ./...

##@ The two commands

.PHONY: demo
demo: deps build runc ## set everything up and run real pods; needs root
	go run ./test/e2e/demo

.PHONY: test
test: deps build build-failpoint peers vm lint ## set everything up and pass every test; needs root
	go run ./test/e2e/demo -prepare
	$(TALLY) $(if $(filter ./...,$(PACKAGES)),-also 'go run ./test/vm/cmd/suites') $(PACKAGES)

##@ Parts of them

.PHONY: test-cni
test-cni: deps build build-failpoint peers ## the tests of the CNI plug-in only
	$(TALLY) ./cni-plugin/... ./cmd/varve-cni/... ./test/bench/cni/...
	go test -count=1 -run '^TestCNI' ./test/crash/

.PHONY: test-vm
test-vm: deps build build-failpoint peers vm ## the tests that need another kernel only, in virtual machines
	go run ./test/e2e/demo -prepare
	$(TALLY) -also 'go run ./test/vm/cmd/suites'

.PHONY: lint
lint: bin/tools/golangci-lint ## the linters; every rule has its reason in .golangci.yml
	bin/tools/golangci-lint run --concurrency 2 --allow-parallel-runners
	bin/tools/golangci-lint run --concurrency 2 --allow-parallel-runners --build-tags failpoint ./internal/failpoint/...

.PHONY: bench
bench: bench-overlay bench-runtime bench-cni bench-devmapper ## every benchmark; results in test/bench/results

.PHONY: bench-overlay
bench-overlay: deps build peers ## the overlay2 snapshotter against containerd's own
	go run ./test/bench/cmd/bench-overlay

.PHONY: bench-runtime
bench-runtime: deps build peers ## a pod's start against bare runc, podman and ctr
	test/install-packages test/bench/packages.txt
	go run ./test/bench/cmd/bench-runtime

.PHONY: bench-cni
bench-cni: deps build peers ## CNI ADD and DEL against the reference chain
	go run ./test/bench/cmd/bench-cni

.PHONY: bench-devmapper
bench-devmapper: deps build vm ## the devicemapper snapshotter against containerd's own, in a virtual machine
	go run ./test/bench/cmd/bench-devmapper $(ARGS)

##@ Building

.PHONY: build
build: ## the binaries, static, to bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: build-failpoint
build-failpoint: ## the same with crash points, to bin/failpoint/ (tests only)
	CGO_ENABLED=0 go build -tags failpoint -o bin/failpoint/ ./cmd/...

.PHONY: runc
runc: ## runc, from its Go module, to bin/peers/
	go build -C test/peers/runc -tags seccomp -ldflags '-s -w' -o $(CURDIR)/bin/peers/ tool

.PHONY: peers
peers: runc ## what tests and benchmarks compare with, from Go modules, to bin/peers/
	CGO_ENABLED=0 go build -C test/peers/containerd -ldflags '-s -w' -o $(CURDIR)/bin/peers/ tool
	go build -C test/peers/csi-sanity -ldflags '-s -w' -o $(CURDIR)/bin/peers/ tool
	CGO_ENABLED=0 go build -C test/peers/cni -ldflags '-s -w' -o $(CURDIR)/bin/peers/cni/ tool

.PHONY: vm
vm: ## bin/vm, which runs a command on the distribution's kernel in a virtual machine
	test/install-packages test/vm/packages.txt
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/vm.new ./test/vm/cmd/vm && mv bin/vm.new bin/vm
	bin/vm fetch

# The linter is built once per version of its module; -s -w and no cgo keep
# that under two minutes on two cores.
bin/tools/golangci-lint: test/tools/lint/go.mod test/tools/lint/go.sum
	CGO_ENABLED=0 go build -C test/tools/lint -ldflags '-s -w' -o $(CURDIR)/bin/tools/ tool
	@touch $@

.PHONY: deps
deps: ## install what the distribution has to supply; says what and why
	test/install-packages test/packages.txt

##@ Installing

.PHONY: install
install: build ## binaries, units, CNI plug-in and its configuration; honours DESTDIR, PREFIX
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(CNIBIN) $(DESTDIR)$(CNICONF) $(DESTDIR)$(UNITDIR)
	install -m 0755 $(filter-out bin/varve-cni,$(addprefix bin/,$(COMMANDS))) $(DESTDIR)$(BINDIR)/
	install -m 0755 bin/varve-cni $(DESTDIR)$(CNIBIN)/varve-cni
	test -e $(DESTDIR)$(CNICONF)/10-varve.conflist || install -m 0644 deploy/cni/10-varve.conflist $(DESTDIR)$(CNICONF)/
	install -m 0644 deploy/systemd/*.service deploy/systemd/*.socket $(DESTDIR)$(UNITDIR)/
	sed -i 's,/usr/local/bin/,$(BINDIR)/,' $(addprefix $(DESTDIR)$(UNITDIR)/,$(notdir $(wildcard deploy/systemd/*.service)))
	@echo 'installed. Next: systemctl daemon-reload && systemctl enable --now varve-overlay.socket varve-csi.socket'

.PHONY: uninstall
uninstall: ## take away what install put there; data under /var/lib/varve stays
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,$(filter-out varve-cni,$(COMMANDS))) $(DESTDIR)$(CNIBIN)/varve-cni
	rm -f $(addprefix $(DESTDIR)$(UNITDIR)/,$(notdir $(wildcard deploy/systemd/*.service deploy/systemd/*.socket)))
	@if cmp -s deploy/cni/10-varve.conflist $(DESTDIR)$(CNICONF)/10-varve.conflist; then rm -f $(DESTDIR)$(CNICONF)/10-varve.conflist; \
	elif test -e $(DESTDIR)$(CNICONF)/10-varve.conflist; then echo 'left $(DESTDIR)$(CNICONF)/10-varve.conflist: it was edited'; fi

.PHONY: clean
clean: ## remove what building made; Go's own caches stay
	rm -rf bin build

.PHONY: help
help: ## this text
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
