# Vireo's commands. Each one makes .venv first when it is missing or out of date; the second run reuses it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(shell command -v $(p) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

INPUT ?=

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "vireo: no Python found; install Python 3.11 or 3.12, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])' || { echo "vireo: $(PYTHON) is $$($(PYTHON) --version); Vireo needs Python 3.11 or 3.12: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "vireo: $(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[client,server,dev]'
	@touch $@

.PHONY: help setup demo test test-gpu perf perf-full perf-analyzer perf-gpu soak check format clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20

setup: $(INSTALLED) ## Make .venv and install everything

demo: $(INSTALLED) ## Send the sample clip (or INPUT=any.mp4) through super_resolution on a real Triton
	$(BIN)/python demo/demo.py $(if $(INPUT),'$(INPUT)')

test: $(INSTALLED) ## Run every test, those on the real server included
	$(BIN)/pytest --numprocesses 2 $(PYTEST_ARGS)

test-gpu: $(INSTALLED) ## Run on this machine's GPU all that touches pictures; fails where there is none
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[gpu]'
	VIREO_REQUIRE_GPU=1 $(BIN)/pytest tests/gpu tests/kernels tests/server tests/end_to_end $(PYTEST_ARGS)

perf-gpu: $(INSTALLED) ## Measure this machine's GPU: some minutes; writes perf/results/gpu
	$(BIN)/python -m perf.gpu

perf: $(INSTALLED) ## Measure everything: about 15 minutes; writes perf/results, plots and the README's table
	$(BIN)/python -m perf.run

perf-full: $(INSTALLED) ## The same with more repetitions: about 40 minutes
	$(BIN)/python -m perf.run --mode full

perf-analyzer: $(INSTALLED) ## perf_analyzer on every service
	$(BIN)/python -m perf.analyzer

soak: $(INSTALLED) ## Fuzzed input, kills at random moments, clips by the hundred: about 10 minutes
	$(BIN)/python -m perf.soak

check: $(INSTALLED) ## Format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python tests/corpus/table.py --check

format: $(INSTALLED) ## Format the code and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove what the other commands made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
