# Everything a person does with the repository. `make` alone prints this list.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ARGS   ?=

.PHONY: help install demo dev test lint format bench drill lock clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  ARGS is handed on: make test ARGS='tests/stack -x', make drill ARGS='kill-nine --scale smoke'"

install: $(STAMP) ## Make .venv with the locked dependencies (Python 3.11 or newer); skipped when it is fresh

$(STAMP): pyproject.toml requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Waypost needs Python 3.11 or newer; name one: make install PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(STAMP)

demo: install ## Run the main job on a stack of its own and prove that nothing was lost or doubled
	$(BIN)/waypost demo $(ARGS)

dev: install ## Start the whole stack: PostgreSQL, Temporal, simulators, API, ingest, workers
	$(BIN)/waypost dev $(ARGS)

test: install ## Run the tests
	$(BIN)/pytest $(ARGS)

lint: install ## Check style, format, types and who imports what
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if grep -qs importlinter pyproject.toml .importlinter; then $(BIN)/lint-imports; fi

format: install ## Put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Measure: make bench ARGS='transactional --report out.json'
	$(BIN)/waypost bench $(ARGS)

drill: install ## Re-enact an incident: make drill ARGS='kill-nine --scale smoke'
	$(BIN)/waypost drill $(ARGS)

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --custom-compile-command 'make lock'

lock: ## Choose the dependencies' versions anew (needs uv: pip install uv)
	@command -v uv > /dev/null || { echo "make lock needs uv: pip install uv"; exit 1; }
	$(LOCK) pyproject.toml --output-file requirements.lock
	$(LOCK) pyproject.toml --group dev --constraint requirements.lock --output-file requirements-dev.lock

clean: ## Remove .venv and the caches; the data in .waypost stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
