# The commands of this project. `make demo` and `make test` start from a bare machine and install what they need.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.NOTPARALLEL:

# Outside the checkout, so that a clean checkout stays warm; caches are named by what is in them.
export BUDSTIKKE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/budstikke
export CARGO_TARGET_DIR ?= $(BUDSTIKKE_CACHE)/target
export SQLX_OFFLINE := true

# One set of features for every check and test, so that nothing is built twice.
everything := --locked --all-targets --features simulate

.PHONY: help
help: ## Show the commands.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s $$'\t'

.PHONY: demo demo-down
demo: ## From a bare machine to one delivered SMS on a local cluster.
	dev/demo
demo-down: ## Remove the demo, its cluster and what it changed on this machine.
	dev/demo-down

.PHONY: test
test: packages lint drift chart peers ## Everything that CI runs. The test runner's summary comes last.
	@echo "== tests: unit and integration"
	source dev/test-env
	cargo test --locked --features simulate --lib --test integration -- --skip attacker::broken:: --skip simulation::many::
	echo "== tests: end to end"
	dev/e2e

.PHONY: broken
broken: packages ## Break retention in three ways, each of which the attacker's test must notice (4 minutes).
	@source dev/test-env
	cargo test --locked --features simulate --test integration -- attacker::broken::

.PHONY: simulation simulate
simulation: ## Ten thousand seeds of senders, a connector and an upstream over a faulty network (BUDSTIKKE_SEEDS, BUDSTIKKE_FIRST_SEED).
	cargo test --locked --features simulate --lib -- --exact simulation::many::many_seeds_hold --nocapture
simulate: ## One of them with all that happened in it: make simulate SEED=7.
	BUDSTIKKE_SEED="$(SEED)" cargo test --locked --features simulate --lib -- --exact simulation::many::one_seed_in_words --nocapture

.PHONY: e2e
e2e: ## The scenarios with real pods alone, on the local cluster with the chart installed.
	dev/e2e

.PHONY: packages
packages: ## Install the Debian packages and built tools that the tests use.
	@echo "== packages and tools"
	dev/test-packages

.PHONY: lint
lint: ## Format, clippy, documentation, dependencies, scripts.
	@echo "== format"
	cargo fmt --check
	@echo "== clippy"
	cargo clippy $(everything) -- -D warnings
	@echo "== documentation"
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --features simulate
	@echo "== dependencies"
	"$$BUDSTIKKE_CACHE"/cargo-deny/bin/cargo-deny --locked check bans licenses sources
	@echo "== scripts"
	git ls-files -z dev .ci tests charts | xargs -0 grep -lZE '^(#!.*(bash|sh)|# shellcheck shell=.*)$$' | xargs -0 shellcheck -x

.PHONY: drift
drift: ## What is generated equals what is committed: queries (CRDs and OpenAPI are held by tests).
	@echo "== checked queries"
	dev/sqlx-prepare --check

.PHONY: chart
chart: ## Lint, validate and unit-test the chart.
	@echo "== chart"
	dev/test-chart

.PHONY: peers
peers: ## Install the independent SMPP peers.
	@echo "== peers"
	tests/peers/setup

.PHONY: oldest
oldest: packages ## The tests of manifests and operator against the oldest Kubernetes supported (a build of minutes the first time).
	@source dev/test-env
	BUDSTIKKE_TOOLS=$$(dev/tools/build --oldest kube-apiserver)
	ln -sf "$$(dev/tools/build etcd)/etcd" "$$BUDSTIKKE_TOOLS/etcd"
	"$$BUDSTIKKE_TOOLS/kube-apiserver" --version
	cargo test --locked --features simulate --test integration -- manifests:: operator::

.PHONY: generate
generate: ## Write what is generated: CRDs, OpenAPI, offline queries.
	dev/sqlx-prepare
	UPDATE=1 cargo test --locked --features simulate --lib --test integration -- crd:: openapi

.PHONY: faults
faults: packages ## Break everything 200 times while messages are sent, and count them (10 minutes; SEED=N replays a run).
	@cargo bench --locked --profile dev --features simulate --bench faults -- $(or $(FAULTS),200) $(SEED)

.PHONY: fuzz
fuzz: ## Fuzz what reads other people's bytes, each target for 10 minutes (FUZZ_SECONDS; FUZZ="frame pdu" for some of them).
	@dev/fuzz $(FUZZ)

.PHONY: bench
bench: ## Beside Kannel; the session alone; message lives, the end of a day, and search (BUDSTIKKE_SEARCH_ROWS=50000000 wants 27 GB).
	failed=
	for bench in gateways session lives expiry search; do
		cargo bench --locked --features simulate --bench $$bench || failed="$$failed $$bench"
	done
	[ -z "$$failed" ] || { echo "not as wanted:$$failed"; exit 1; }
