# Everything lives in this folder: a venv made once, the demo's data, Dagster's state.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := $(CURDIR)/demo

# Compiled modules make every start of a command seconds faster.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo dev services test lint types check soak soak-worlds soak-crash mutations clean

help: ## Show what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt usage_stats_dagster/native/scan.c
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned packages into $(VENV) (once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(STAMP) ## Make the venv and install the pinned packages

demo: setup ## Make a sample of logs, run the whole graph over it, show the figures
	@$(BIN)/usage-stats demo --folder $(DEMO)

dev: setup ## Open Dagster on the demo's data (http://127.0.0.1:3000)
	@test -f $(DEMO)/usage_stats.toml || $(BIN)/usage-stats demo --folder $(DEMO)
	@cd $(DEMO) && DAGSTER_HOME=$(DEMO)/dagster_home $(CURDIR)/$(BIN)/dagster dev -w $(CURDIR)/workspace.yaml

services: setup ## Start a MariaDB, an S3 server and an OpenSearch until Ctrl-C; says how to use them
	@$(BIN)/python -m usage_stats_dagster_tests.running_services

test: setup ## Run the tests (no service needed)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: setup ## Check style and imports
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup ## Check types, strictly, on everything below the Dagster layer
	@$(BIN)/mypy

check: lint types test ## What CI runs

SECONDS ?= 600
soak: ## Fresh worlds against the oracle, then runs killed anywhere: half of SECONDS (600) each
	@$(MAKE) --no-print-directory soak-worlds soak-crash SECONDS=$$(( $(SECONDS) / 2 ))

soak-worlds: setup ## Fresh worlds against the oracle for SECONDS; what fails is kept in soak-failures/
	@$(BIN)/python -m usage_stats_dagster_tests.soak --seconds $(SECONDS)

soak-crash: setup ## Runs killed at points and moments of fresh seeds for SECONDS, wherever a service is at hand there too
	@$(BIN)/python -m usage_stats_dagster_tests.crash.soak $(SECONDS)

mutations: setup ## Break each rule once and show which tests notice
	@$(BIN)/python -m usage_stats_dagster_tests.mutations

clean: ## Remove what was made here, but for the venv
	rm -rf demo data .pytest_cache .mypy_cache .ruff_cache benchmarks/data soak-failures
