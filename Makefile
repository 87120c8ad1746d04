# Tidegate on a laptop. `make demo`, `make test` and `make up` set everything up first; nothing but Python 3.11+ and make is needed.
PYTHON ?= python3
UV = .venv/bin/uv
PY = .venv/bin/python
STATE ?= .state
# Starts are half as long when bytecode is there (docs/concepts/environments.md): write it, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE
export UV_LINK_MODE ?= copy
INSTALL = $(UV) pip install --quiet --compile-bytecode --require-hashes --strict
LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-header --no-annotate --no-emit-index-url

.DEFAULT_GOAL := help
.PHONY: help setup demo up test chaos check unit lint types layers bench docs lock clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready local/storage/node_modules/.ready .environments/train/.ready .environments/serve/.ready ## Install everything from the package registries (done by the other targets)

demo: setup ## The main job, live: file -> data version -> model -> endpoint, then a second file -> canary -> 100 %
	@$(PY) -m local.demo --state $(STATE)/demo $(DEMO)

up: setup ## Start the whole local stack; Ctrl-C stops it
	@$(PY) -m local up --state $(STATE) $(UP)

test: setup ## All tests
	$(PY) -m pytest $(TESTS)

chaos: setup ## Stories of lost, doubled and late events and of kill -9, with a report; CHAOS="--stories 20 --seed 7"
	@$(PY) -m tests.chaos $(CHAOS)

check: lint types layers ## Lint, types, layers

unit: setup ## The fast tests only
	$(PY) -m pytest tests/unit -q

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: setup
	$(PY) -m mypy

layers: setup
	.venv/bin/lint-imports

bench: setup ## Benchmarks: ratios measured side by side in one run
	$(PY) -m benchmarks $(BENCH)

docs: setup ## Generate the reference pages from the code
	$(PY) -m docs.generate

lock: .venv/.ready ## Update the pins: edit the *.in files, then run this (docs/how-to/update-versions.md)
	$(LOCK) requirements-uv.in -o requirements-uv.txt $(LOCKFLAGS)
	$(LOCK) requirements.in -o requirements.txt $(LOCKFLAGS)
	$(LOCK) requirements-dev.in -o requirements-dev.txt $(LOCKFLAGS)
	$(LOCK) components/environment/train.in -o components/environment/train.txt $(LOCKFLAGS)
	$(LOCK) components/environment/serve.in -o components/environment/serve.txt $(LOCKFLAGS)
	$(UV) pip compile --quiet --universal --python-version 3.13 --generate-hashes --no-header --no-annotate --no-emit-index-url tests/worker/requirements.in -o tests/worker/requirements.txt $(LOCKFLAGS)
	$(PY) components/environment/lock.py

clean: ## Remove what setup installed and the stack's state
	rm -rf .venv .environments local/storage/node_modules $(STATE)

.venv/.ready: requirements-uv.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or later is needed; $(PYTHON) is {v.major}.{v.minor}. Name another: make PYTHON=python3.12 ...")'
	@echo "setup: app, local stack and tests -> .venv"
	@$(PYTHON) -m venv --clear .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	@$(INSTALL) -p $(PY) -r requirements-dev.txt
	@touch $@

local/storage/node_modules/.ready: local/storage/package-lock.json .venv/.ready
	@echo "setup: Azurite -> local/storage/node_modules (with Node from PyPI)"
	@cd local/storage && PATH="$(CURDIR)/.venv/bin:$$PATH" npm ci --ignore-scripts --loglevel=error
	@touch $@

.environments/%/.ready: components/environment/%.txt components/environment/%.conda.yaml .venv/.ready
	@echo "setup: environment '$*' of Azure ML jobs and deployments -> .environments/$*"
	@$(PY) -m venv --clear --without-pip .environments/$*
	@$(INSTALL) -p .environments/$*/bin/python -r components/environment/$*.txt
	@$(PY) -m local.azureml.execution.environments link components/environment/$*.conda.yaml .environments/$*
	@touch $@
