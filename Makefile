# One word per task. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?=

# The first Python that runs and is new enough: a version manager's shim may be there and refuse to run.
define FIND_PYTHON
for candidate in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo "$$candidate"; exit 0; fi; \
done; \
echo "make: needs Python 3.11 or newer, with venv: install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1
endef

.PHONY: help setup browser screenshots demo run test unit integration bench bench-quick bench-growth bench-plots typecheck lint format migrate-upgrade lock docs clean

help: ## list the tasks
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(STAMP) ## Python environment in .venv; a second call does nothing and needs no network

$(STAMP): requirements-dev.txt pyproject.toml
	@python="$$($(FIND_PYTHON))"; test -x $(BIN)/python || "$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $(STAMP)

demo: setup ## the service, end to end: servers, two workers, class sets, and proof that the result is right
	@exec $(BIN)/els demo

run: setup ## servers, schema, topics and one worker, until Ctrl-C
	@exec $(BIN)/els run

browser: setup ## a Chromium for the tests of the page: the one that is here, or one that is fetched
	$(BIN)/python -m tests.support.chromium

screenshots: browser ## pictures of the page for docs/, of a worker that is empty, busy and without its database
	$(BIN)/python -m tests.support.screenshots

# Several processes at once, each with servers of its own; `pytest FILE` runs in one. See tests/support/parallel.py.
PYTEST = $(BIN)/pytest -n auto --timeout 300

test: browser ## all tests
	$(PYTEST)

unit: setup ## the tests that need no server
	$(PYTEST) -m "not integration and not long and not nightly"

integration: browser ## the tests that need PostgreSQL or Kafka, which they start themselves
	$(PYTEST) -m "integration and not long and not nightly"

bench: setup ## what it does in how much time, as ratios of one run: less than 15 minutes
	@exec $(BIN)/python -m tests.benchmarks

bench-quick: setup ## the same on small sizes: less than 3 minutes
	@exec $(BIN)/python -m tests.benchmarks --quick

bench-growth: setup ## what an essay costs beside up to 10 million others: about an hour
	@exec $(BIN)/python -m tests.benchmarks --growth

bench-plots: setup ## bench.json as pictures and a table in docs/
	@exec $(BIN)/python -m tests.benchmarks.plots

typecheck: setup ## mypy, strict
	$(BIN)/mypy

lint: setup ## style, format and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: setup ## put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

migrate-upgrade: setup ## bring the database to the newest schema
	@exec $(BIN)/els migrate

# --upgrade only when asked for: make lock UPGRADE=--upgrade
lock: setup ## write the lock files from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra tracing $(LOCK) -o requirements.txt
	$(BIN)/uv pip compile pyproject.toml --group dev $(LOCK) -o requirements-dev.txt
LOCK = --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header $(UPGRADE)

docs: setup ## write the tables and examples in docs/ that are made from the code
	$(BIN)/python -m tests.support.generated_docs

clean: ## remove environment, caches and the embedded servers' data
	@if test -x $(BIN)/els; then $(BIN)/els down --remove-data || true; fi
	rm -rf $(VENV) .els .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
