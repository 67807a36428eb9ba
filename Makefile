# Two commands matter: `make demo` and `make test`. Everything they need, they install into .venv.
# Set-up talks on stderr only, so that stdout stays the program's.
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

setup: .venv/.dev ## make .venv with everything needed to work on Sidecar

demo: .venv/.demo ## start the embedded stack with the incident in it and run Sidecar on it (ARGS="--once --json")
	@$(BIN)/sidecar demo $(ARGS)

test: .venv/.dev ## run the tests (ARGS="-k word"; ARGS="-n0 -s" shows the figures that they print)
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

check: lint test docs ## what CI runs: lint, types, import contracts, tests, docs

lint: .venv/.dev ## ruff, mypy, import-linter, codespell
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell

docs: .venv/.dev ## check that generated documents are up to date and links resolve
	@$(BIN)/python -m tests.docs_check

soak: .venv/.dev ## the long trials in full: kills, races, interleavings
	@$(BIN)/python -m pytest -m soak -p no:randomly -s $(ARGS)

bench: .venv/.dev ## measure against a peer in the same run; one JSON document on stdout
	@$(BIN)/python -m tests.bench $(ARGS)

fix: .venv/.dev ## format, and mend what ruff can mend
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

lock: .venv/.dev ## compile the lock files again
	@for set in 'dev --all-extras --group build --group test --group lint' \
	            'demo --extra demo --group build -c requirements/dev.txt' \
	            'runtime --group build -c requirements/dev.txt'; do set -- $$set; name=$$1; shift; \
	  $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --quiet "$$@" -o requirements/$$name.txt || exit 1; done

.PHONY: help setup demo test check lint docs soak bench fix lock

# The stamp of the larger set serves the smaller one too, so that `make demo` after `make test` installs nothing.
.venv/.dev: requirements/dev.txt pyproject.toml | .venv/bin/python
	@$(call install,dev)
	@touch .venv/.demo .venv/.dev

.venv/.demo: requirements/demo.txt pyproject.toml | .venv/bin/python
	@$(call install,demo)
	@touch .venv/.demo

define install
{ $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/$(1).txt && \
  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . ; } >&2
endef

.venv/bin/python:
	@command -v git >/dev/null || { echo "sidecar: git is missing; install it with: apt-get install git" >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "sidecar: python3 is missing; install it with: apt-get install python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sidecar: Python 3.11 or newer is needed, and $(PYTHON) is older" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "sidecar: the venv module is missing; install it with: apt-get install python3-venv" >&2; exit 1; }
	@echo "sidecar: first run, making .venv (about a minute)" >&2
	@$(PYTHON) -m venv .venv >&2
