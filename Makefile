# Everything that a newcomer, a developer and CI run. Each target sets up what it needs.

VENV := .venv
BIN := $(VENV)/bin
CODEGEN := .venv-codegen
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
OURS := --no-deps --no-build-isolation -e clients/python -e .
STUBS := clients/python
PROTOS := $(shell find proto -name '*.proto')
CORES := $(shell getconf _NPROCESSORS_ONLN)

.DEFAULT_GOAL := help
.PHONY: help serve demo test sweep faults fuzz models mutants check setup static format lint types imports proto-lint \
    proto-fresh proto bench docs settings lock clean

help: ## Lists the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

serve: $(VENV)/.runtime ## Runs the gateway with its bundled PostgreSQL, printing what it would send.
	@exec $(BIN)/relaypost serve

demo: $(VENV)/.runtime ## Shows an email and an SMS that survive the failure of their first provider.
	@$(BIN)/relaypost demo

test: $(VENV)/.dev ## Runs the tests, several at a time.
	@$(BIN)/python -m pytest -n auto --dist worksteal

sweep: $(VENV)/.dev ## Lets something go wrong at every step of every scenario, and prints a table.
	@$(BIN)/python -m tests.sweep $(ARGS)

faults: $(VENV)/.dev ## Lets everything around real gateways fail at random: SEED=... MINUTES=...
	@$(BIN)/python -m tests.faults.chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

fuzz: $(VENV)/.dev ## Sends broken requests to a gateway; SEED and CALLS may be set.
	@$(BIN)/python -m tests.faults.fuzz $(if $(SEED),--seed $(SEED)) $(if $(CALLS),--calls $(CALLS))

models: $(VENV)/.dev ## Holds breaker and chain against their models, with 10,000 histories each.
	@RELAYPOST_MODELS=thorough $(BIN)/python -m pytest -q --durations=0 --durations-min=1 \
	    tests/core/test_breaker_model.py tests/core/test_chain_model.py

mutants: $(VENV)/.dev ## Breaks the core on purpose and counts what the tests of the core notice.
	@$(BIN)/python -m tests.mutants

check: static test ## Everything that CI asks for.

setup: $(VENV)/.dev $(CODEGEN)/.ready

static: ## What CI asks for that needs no test, several at a time.
	@$(MAKE) --no-print-directory -j $(CORES) --output-sync=target format lint types imports proto-lint proto-fresh

format: $(VENV)/.dev
	$(BIN)/ruff format --check

lint: $(VENV)/.dev
	$(BIN)/ruff check

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports

proto-lint: $(VENV)/.dev
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	@if git cat-file -e main:proto 2>/dev/null; then $(BIN)/buf breaking --against '.git#branch=main'; fi

proto-fresh: $(CODEGEN)/.ready
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(MAKE) --no-print-directory proto STUBS="$$fresh" && \
	diff -r -x '*.pyc' -x __pycache__ -x __init__.py "$$fresh/relaypost/v1" clients/python/relaypost/v1

proto: $(CODEGEN)/.ready ## Generates the stubs from proto/.
	@$(CODEGEN)/bin/python -m grpc_tools.protoc -I proto --python_out=$(STUBS) \
	    --plugin=$(CODEGEN)/bin/protoc-gen-mypy --mypy_out=quiet:$(STUBS) $(PROTOS)
	@$(CODEGEN)/bin/python -m grpc_tools.protoc -I proto --grpc_python_out=$(STUBS) \
	    --plugin=$(CODEGEN)/bin/protoc-gen-mypy_grpc --mypy_grpc_out=quiet:$(STUBS) $(filter %_service.proto,$(PROTOS))

bench: $(VENV)/.dev ## Measures the gateway beside its baselines.
	@$(BIN)/python -m bench

docs: $(VENV)/.dev ## Writes what the documentation takes from the code: settings, and the tables of docs/providers.md.
	@$(BIN)/relaypost settings --markdown > docs/settings.md
	@$(BIN)/python -m relaypost_server.providers.field_table docs/providers.md
	@$(BIN)/python -m tests.answers_in_docs

lock: ## Renews the lock files for what has been added; needs uv. UPGRADE=--upgrade takes newer versions as well.
	uv pip compile pyproject.toml $(LOCK) --extra embedded --group build -o requirements/runtime.lock
	uv pip compile pyproject.toml $(LOCK) --extra embedded --group dev -c requirements/runtime.lock \
	    -o requirements/dev.lock
	uv pip compile --group codegen $(LOCK) -o requirements/codegen.lock

LOCK := --quiet $(UPGRADE) --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-emit-find-links --no-emit-package relaypost --custom-compile-command 'make lock'

clean: ## Removes what was set up.
	rm -rf $(VENV) $(CODEGEN)

$(VENV)/.runtime: requirements/runtime.lock pyproject.toml clients/python/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Relaypost needs Python 3.11 or later: set PYTHON")'
	@echo "Setting up $(VENV) ..." && $(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements/runtime.lock && $(PIP) install $(OURS) && touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.runtime
	@echo "Setting up the tests ..."
	@$(PIP) install --require-hashes -r requirements/dev.lock && touch $@

$(CODEGEN)/.ready: requirements/codegen.lock
	@$(PYTHON) -m venv $(CODEGEN)
	@$(CODEGEN)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r $< && touch $@
