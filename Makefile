# demo, test, bench, and nothing clever. `make deps` installs what is missing; everything else depends on it.
SHELL := /bin/bash
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dnnshifter
export DNNSHIFTER_CACHE := $(CACHE)

PACKAGES := $(shell grep -v '^\#' tests/cluster/debian-packages.txt)

.PHONY: deps
deps:
	@dpkg -s $(PACKAGES) >/dev/null 2>&1 || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends $(PACKAGES); }
	@mkdir -p .deps $(CACHE)
	@runtime/install-onnxruntime.sh $(CACHE)/onnxruntime-1.31.1
	@pruner-job/install-libtorch.sh $(CACHE)/libtorch-2.13.0
	@ln -sfn $(CACHE)/onnxruntime-1.31.1 .deps/onnxruntime
	@ln -sfn $(CACHE)/libtorch-2.13.0 .deps/libtorch
