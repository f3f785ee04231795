# demo, test, bench, and nothing clever. `make help` lists what there is.
SHELL := /bin/bash -euo pipefail
CACHE := $(or $(DNNSHIFTER_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dnnshifter)
PRUNING_PEERS = $(CACHE)/pruning-peers
FUZZ = $(CACHE)/cargo-fuzz/bin/cargo-fuzz fuzz run --sanitizer none
FUZZ_LIMITS = -max_total_time=$(or $(FUZZ_SECONDS),60) -rss_limit_mb=512 -malloc_limit_mb=256 -timeout=10
TRITONCLIENT = $(CACHE)/tritonclient-2.73.0
ONNX = $(CACHE)/onnx-1.23.2
PACKAGES = $(shell grep -v '^\#' tests/cluster/debian-packages.txt)
export DNNSHIFTER_CACHE := $(CACHE)

.PHONY: help
help: ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: deps
deps: ## install Debian packages, ONNX Runtime and libtorch that are missing (root)
	@dpkg -s $(PACKAGES) >/dev/null 2>&1 || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends $(PACKAGES); }
	@mkdir -p .deps $(CACHE)
	@runtime/install-onnxruntime.sh $(CACHE)/onnxruntime-1.31.1
	@pruner-job/install-libtorch.sh $(CACHE)/libtorch-2.13.0
	@ln -sfn $(CACHE)/onnxruntime-1.31.1 .deps/onnxruntime
	@ln -sfn $(CACHE)/libtorch-2.13.0 .deps/libtorch

.PHONY: build
build: deps ## build everything, the cluster's programs included
	cargo build --release --locked --workspace --all-targets
	target/release/dnnshifter-cluster build

.PHONY: images
images: deps ## build the three images and nothing else, and push them: make images REGISTRY=registry.example.com/team TAG=0.1.0 (root)
	@test -n "$(REGISTRY)" || { echo "say where to: make images REGISTRY=registry.example.com/team [TAG=latest] [PLAIN_HTTP=1]" >&2; exit 2; }
	cargo build --release --locked -p dnnshifter-operator -p dnnshifter-runtime -p dnnshifter-pruner-job -p dnnshifter-cluster
	@mkdir -p target
	cargo run --quiet --release --locked -p dnnshifter-cluster -- images --registry "$(REGISTRY)" --tag "$(or $(TAG),latest)" $(if $(PLAIN_HTTP),--plain-http) --values target/images.yaml

.PHONY: demo
demo: build ## from a ModelPortfolio to switched variants, on a cluster of its own (root)
	target/release/dnnshifter-demo run

.PHONY: demo-down
demo-down: ## remove the demo's cluster
	target/release/dnnshifter-demo down

.PHONY: test
test: build test-protocol test-onnx ## all tests, those on a real cluster included (root)
	cargo test --release --locked --workspace

.PHONY: test-protocol
test-protocol: build ## the runtime, asked by tritonclient over HTTP and gRPC
	python3 -m venv $(TRITONCLIENT)
	$(TRITONCLIENT)/bin/python -m pip install --quiet 'tritonclient[http,grpc]==2.73.0'
	ORT_DYLIB_PATH=$(CURDIR)/.deps/onnxruntime/libonnxruntime.so.1 $(TRITONCLIENT)/bin/python runtime/tests/protocol/tritonclient_test.py target/release/dnnshifter-runtime

.PHONY: test-onnx
test-onnx: build ## what compaction writes, judged by onnx.checker
	python3 -m venv $(ONNX)
	$(ONNX)/bin/python -m pip install --quiet onnx==1.23.2
	rm -rf target/masked-networks && mkdir -p target/masked-networks
	target/release/examples/masked-networks target/masked-networks
	$(ONNX)/bin/python pruner-job/tests/onnx/checker_test.py target/release/dnnshifter-pruner-job target/masked-networks

.PHONY: peers
peers: ## install the servers that ours is compared with
	tests/src/bench/peers/install.sh $(CACHE)/peers

.PHONY: bench-serving
bench-serving: build peers ## measure serving on a machine with nothing else to do; writes docs/benchmarks/serving.*
	target/release/dnnshifter-bench serving --peers $(CACHE)/peers

.PHONY: bench-compaction
bench-compaction: deps ## measure exact compaction on a machine with nothing else to do; writes docs/benchmarks/compaction.*
	cargo bench --locked -p dnnshifter-network --bench compaction

.PHONY: bench-pruning
bench-pruning: build ## measure pruning on a machine with nothing else to do; writes docs/benchmarks/pruning.*
	python3 -m venv $(PRUNING_PEERS)
	$(PRUNING_PEERS)/bin/python -m pip install --quiet onnxruntime==1.31.1 onnx==1.23.2 torch==2.13.0 torch-pruning==1.6.1
	target/release/dnnshifter-bench pruning --python $(PRUNING_PEERS)/bin/python --torch-python $(PRUNING_PEERS)/bin/python

.PHONY: fuzz
fuzz: build ## look for requests and ONNX files that break us: make fuzz [FUZZ_SECONDS=60], for each of three targets
	cargo install --quiet --locked --root $(CACHE)/cargo-fuzz cargo-fuzz@0.13.1
	@mkdir -p target/fuzz/{rest,grpc,read}
	for model in vgg16 resnet20; do target/release/dnnshifter-pruner-job model $$model --width 1/32 --input 1x8x8 --classes 10 --output target/fuzz/read/$$model.onnx; done
	cd runtime && $(FUZZ) rest ../target/fuzz/rest fuzz/seeds/rest -- $(FUZZ_LIMITS)
	cd runtime && $(FUZZ) grpc ../target/fuzz/grpc fuzz/seeds/grpc -- $(FUZZ_LIMITS)
	cd pruner-job/network && $(FUZZ) read ../../target/fuzz/read -- $(FUZZ_LIMITS)

.PHONY: lint
lint: deps ## formatting, clippy and documentation, warnings denied
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --release --locked --workspace --no-deps --document-private-items

.PHONY: golden
golden: deps ## write generated files anew: the API's YAML, golden files of tests
	UPDATE_GOLDEN=1 cargo test --release --workspace --lib --bins
	UPDATE_GOLDEN=1 cargo test --release -p dnnshifter-crds
