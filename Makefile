# Everything a clone needs, with nothing but Python 3.11 or newer on the machine. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEPENDENCIES := $(VENV)/.dependencies
INSTALLED := $(VENV)/.installed
BUILT_FROM := pyproject.toml hatch_build.py $(wildcard native/*) \
	$(shell find web -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null | tr ' ' '?')
WORKERS ?= 2

.PHONY: help install up demo test lint format bench docs lock clean

help: ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | expand -t 12

install: $(INSTALLED) ## Make .venv with everything: wk, watchkeeper-hook, the dashboard, and what tests need

$(DEPENDENCIES): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Watchkeeper needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

# Built without isolation, by the compiler and the Node that the lock file pins.
$(INSTALLED): $(DEPENDENCIES) $(BUILT_FROM)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	ln -sf "$$($(BIN)/python -c 'from watchkeeper.spool.binary import packaged_hook; print(packaged_hook())')" $(BIN)/watchkeeper-hook
	@touch $@

up: install ## Run daemon and dashboard, and print its address
	$(BIN)/wk up

demo: install ## The same on packaged recorded sessions, in a throw-away home
	$(BIN)/wk demo

test: install ## Run all tests; what is skipped says why
	@.ci/debian-packages
	$(BIN)/python -m pytest -n $(WORKERS) -rs

lint: install ## Check style, types and the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## Put the sources into the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Measure every budget: one table, and JSON in bench/results
	$(BIN)/python bench/run.py

docs: install ## Generate the reference pages
	$(BIN)/python docs/reference/generate.py

lock: ## Renew requirements.lock from pyproject.toml
	$(PYTHON) -m venv .cache/lock
	.cache/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	.cache/lock/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--generate-hashes --upgrade --quiet --no-header --output-file requirements.lock

clean: ## Remove everything that was built
	rm -rf $(VENV) .cache build dist bench/results web/node_modules \
		src/watchkeeper/_bin src/watchkeeper/server/_static \
		.mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
