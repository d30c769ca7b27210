# `make help` lists the commands. Most need nothing but Python 3.11 or newer and make.

PYTHON ?= python3
VENV   := .venv
# Seen from backend/, and without the folders above, whose names may contain blanks.
BIN    := ../$(VENV)/bin

COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --upgrade --generate-hashes \
  --no-emit-index-url --custom-compile-command "make lock" -q
INSTALL := python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r
CHECK   := python -m pip check --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run test slow coverage chaos clients check check-all format lint types contract picture lock lists bench bench-full clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Start the API with a local database; DATABASE_URL names another one
	@cd backend && exec $(BIN)/python -m dev

test: $(VENV)/.dev ## Run the tests against a real PostgreSQL (4 minutes)
	cd backend && $(BIN)/python -m pytest

slow: $(VENV)/.dev ## Run the tests that take long: models, many clients, signals, drills
	cd backend && $(BIN)/python -m pytest -m "slow and not chaos"

chaos: $(VENV)/.dev ## Run the long tests: kills, failovers, locks, other ways to run the database
	cd backend && $(BIN)/python -m pytest -m chaos
	cd backend && for variant in partitioned pooled-1 pooled-3 without-indexes; do \
	  $(BIN)/python -m pytest tests/integration --variant=$$variant || exit 1; done

clients: $(VENV)/.dev backend/tests/clients/.venv/.ready ## Build on the API with generated clients and AI agents, and lint OpenAPI (needs npm)
	cd backend && $(BIN)/python -m pytest -m clients

coverage: $(VENV)/.dev ## Run the tests of `test` and `slow`, and check that they reach every branch
	cd backend && $(BIN)/python -m pytest -m "not chaos and not clients" --cov --cov-report=term

check: lint types test ## Check a change: format, lint, types, imports, tests (5 minutes)

check-all: lint types coverage lists chaos clients ## Run everything: what CI runs

format: $(VENV)/.dev ## Format the code
	cd backend && $(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: $(VENV)/.dev ## Check format, style and the direction of imports
	cd backend && $(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/lint-imports

types: $(VENV)/.dev ## Check the types
	cd backend && $(BIN)/mypy

contract: $(VENV)/.dev ## Write what the code says into the documents
	cd backend && $(BIN)/python -m tests.contract.write

picture: $(VENV)/.dev ## Take the picture of /docs for the README
	cd backend && $(BIN)/python -m tests.picture

lock: $(VENV)/.dev ## Pin the newest dependencies, with hashes
	cd backend && $(COMPILE) pyproject.toml --group dev -o requirements-dev.txt
	cd backend && $(COMPILE) pyproject.toml --group run -c requirements-dev.txt -o requirements-run.txt
	cd backend && $(COMPILE) pyproject.toml -c requirements-dev.txt -o requirements.txt
	cd backend/benchmarks && ../$(COMPILE) requirements.in -o requirements.txt
	cd backend/tests/clients && ../../$(COMPILE) requirements.in -o requirements.txt

lists: $(VENV)/.dev ## Check that every pinned list is complete, and that the server needs no other
	backend/check-lists $(BIN)

bench: $(VENV)/.run backend/benchmarks/.venv/.ready ## Measure the server beside its peers (10 minutes; needs wrk and npm)
	cd backend && $(BIN)/python -m benchmarks run --quick && benchmarks/.venv/bin/python -m benchmarks report

bench-full: $(VENV)/.run backend/benchmarks/.venv/.ready ## The same with the long parts: growth, memory, fairness
	cd backend && $(BIN)/python -m benchmarks run --full && benchmarks/.venv/bin/python -m benchmarks report

backend/benchmarks/.venv/.ready: backend/benchmarks/requirements.txt backend/benchmarks/peers/fastify/package-lock.json
	@command -v wrk >/dev/null && command -v npm >/dev/null || { echo "task-api: the benchmark needs wrk and npm"; exit 1; }
	$(PYTHON) -m venv backend/benchmarks/.venv
	cd backend/benchmarks && .venv/bin/$(INSTALL) requirements.txt && .venv/bin/$(CHECK)
	cd backend/benchmarks && npm ci --silent --prefix peers/fastify
	@touch $@

backend/tests/clients/.venv/.ready: backend/tests/clients/requirements.txt backend/tests/clients/package-lock.json
	@command -v npm >/dev/null || { echo "task-api: the tools need npm"; exit 1; }
	$(PYTHON) -m venv backend/tests/clients/.venv
	cd backend/tests/clients && .venv/bin/$(INSTALL) requirements.txt && .venv/bin/$(CHECK)
	cd backend/tests/clients && npm ci --silent
	@touch $@

clean: ## Remove the environment; the data in .data stays
	rm -rf $(VENV)

$(VENV)/bin/python:
	@test ! -e $(VENV) || test -w $(VENV) \
	  || { echo "task-api: $(VENV) belongs to another user, and you may not write to it"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "task-api: $(PYTHON) is not Python 3.11 or newer; name another one with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "task-api: the module venv is missing: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	@# What a failed attempt leaves behind would look like an environment the next time. Its Python
	@# may also have been removed since.
	$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

# Nothing but the list decides what is installed: pip resolves nothing, and no later release of any
# package can break it. `pip check` fails if the list is not complete.
$(VENV)/.run: $(VENV)/bin/python backend/requirements-run.txt
	$(VENV)/bin/$(INSTALL) backend/requirements-run.txt
	$(VENV)/bin/$(CHECK)
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python backend/requirements-dev.txt
	$(VENV)/bin/$(INSTALL) backend/requirements-dev.txt
	$(VENV)/bin/$(CHECK)
	@touch $@ $(VENV)/.run
