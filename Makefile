# What each target does stands in README.md and tests/README.md.
# PYTHON=/path/to/python3.12 chooses the interpreter of a new .venv; ARGS is handed on: make test ARGS="-k admit".

SHELL := /bin/bash
UV_VERSION := 0.13.9
# Triton's Python backend runs on 3.11 and 3.12 only (docs/decisions/0003), and `up` starts one.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do $$p -c '$(FITS)' 2>/dev/null && { command -v $$p; break; }; done)
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .venv/bin/uv)
SYNC := UV_PROJECT_ENVIRONMENT=.venv VIRTUAL_ENV= $(UV) sync --frozen --inexact --quiet
BIN := .venv/bin

.PHONY: up test check bench mutate fuzz fmt clean lock
.DEFAULT_GOAL := up
.DELETE_ON_ERROR:

# `exec`, so that Ctrl-C and SIGTERM meet the program itself and not a shell around it.
up: .venv/.synced-local
	@exec $(BIN)/tallylight up $(ARGS)

# All of it on every core, a file at a time; what ARGS chooses runs in one process.
test: .venv/.synced-dev
	@exec $(BIN)/python -m pytest $(or $(ARGS),-n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder)

check: .venv/.synced-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/tidy

bench: .venv/.synced-dev
	@exec $(BIN)/python -m tests.bench $(NAME) $(ARGS)

mutate: .venv/.synced-dev
	@exec $(BIN)/python -m tests.mutation $(ARGS)

# The fuzzer is no part of `dev`: it is large, and only this target runs it.
fuzz: .venv/.synced-dev
	@$(SYNC) --group fuzz
	@exec $(BIN)/python -m tests.fuzz $(NAME) $(ARGS)

fmt: .venv/.synced-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: .venv/.made
	$(UV) lock

# The environment and caches; never .data, where `up` keeps the database and the videos.
clean:
	rm -rf .venv mutants .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist
	find gateway billing deploy tests -name __pycache__ -prune -exec rm -rf {} +

.venv/.made:
	@"$(PYTHON)" -c '$(FITS)' 2>/dev/null || { \
	  echo 'Tallylight needs Python 3.11 or 3.12, and neither python3, python3.12 nor python3.11 is one. Install it, or say' >&2; \
	  echo 'where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12' >&2; exit 1; }
	@[[ "$(UV)" == uv ]] && uv venv --quiet --allow-existing --python "$(PYTHON)" .venv || { \
	  "$(PYTHON)" -m venv .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"; } || { \
	  echo 'Cannot make .venv: on Debian and Ubuntu, apt install python3-venv; behind a proxy, configure pip.' >&2; exit 1; }
	@touch $@

# What `up` needs, and no more: a newcomer does not wait for the tools of the tests.
.venv/.synced-local: .venv/.made pyproject.toml uv.lock
	@echo 'Installing what Tallylight runs on into .venv'
	@$(SYNC) --no-default-groups --group local
	@touch $@

.venv/.synced-dev: .venv/.made pyproject.toml uv.lock
	@echo 'Installing what Tallylight is built and tested with into .venv'
	@$(SYNC)
	@touch $@ .venv/.synced-local
