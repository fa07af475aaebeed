# New here? `make demo`, then `make test`. Every target sets up what it needs, and no more.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NPM := $(BIN)/python scripts/build_dashboard.py --npm
TESTS_JS := tests/e2e/js
PAGES := $(shell find dashboard -name node_modules -prune -o -type f -print)
SHELL_SCRIPTS = .ci/run $(shell find scripts service -name '*.sh')
CORES := $(shell nproc 2>/dev/null || echo 2)
# The tests wait for other processes half of the time: two workers more than there are cores.
WORKERS ?= $(shell echo $$(($(CORES) + 2)))
UNIT := --unit -m "not slow and not long" -n $(CORES) --dist worksteal
# The versions that were tried together. `make constraints` takes today's.
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- what the targets stand on: each stamp is one installation ---

# Python's venv: all that `make build` needs.
$(VENV)/.venv:
	sh scripts/packages.sh python
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

# The service, with what the demo needs.
$(VENV)/.demo: $(VENV)/.venv pyproject.toml constraints.txt
	@echo 'installing what the demo needs from PyPI: a minute or two, once…'
	$(INSTALL) --editable '.[demo]'
	touch $@

# The tools and the tests' Python packages: all that `make unit` needs.
$(VENV)/.tools: $(VENV)/.demo
	$(INSTALL) --editable '.[dev]'
	touch $@

# What the whole suite needs: the programs that it runs, and the official JavaScript client.
$(VENV)/.dev: $(VENV)/.tools $(TESTS_JS)/package.json $(TESTS_JS)/package-lock.json scripts/packages.sh
	sh scripts/packages.sh tests
	cd $(TESTS_JS) && npm ci --silent --no-audit --no-fund
	touch $@

# The built pages. Where the machine has no Node, the one from PyPI.
$(VENV)/.dashboard: $(VENV)/.demo $(PAGES) scripts/build_dashboard.py
	@echo 'building the pages…'
	needs=$$($(BIN)/python scripts/build_dashboard.py --needs); \
		test -z "$$needs" || $(BIN)/python -m pip install --quiet "$$needs"
	$(BIN)/python scripts/build_dashboard.py
	touch $@

# --- to use it ---

demo: $(VENV)/.demo $(VENV)/.dashboard ## a whole install on this machine, to watch [ONCE=1] [FAIL=1]
	@$(BIN)/python -m service demo

cluster: $(VENV)/.tools $(VENV)/.dashboard ## three replicas on one PostgreSQL; one is killed in the middle of an install [ONCE=1]
	sh scripts/packages.sh cluster
	@$(BIN)/python -m scripts.cluster

serve: $(VENV)/.demo $(VENV)/.dashboard ## the service, from this checkout
	$(BIN)/python -m service serve

# --- to change it ---

setup: $(VENV)/.dev ## install all that the targets below need

unit: $(VENV)/.tools ## the tests that start nothing real: under a minute, needs neither Node nor Debian packages
	$(BIN)/python -m pytest --quiet $(UNIT)

check: $(VENV)/.tools $(VENV)/.dashboard ## format, lint, types, import arrows, shell, dashboard, migrations on each engine
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck $(SHELL_SCRIPTS)
	$(BIN)/python scripts/dashboard_types.py --check
	$(NPM) run --silent check
	$(NPM) run --silent test
	sh scripts/packages.sh postgresql
	$(BIN)/python -m scripts.check_migrations

test: $(VENV)/.dev $(VENV)/.dashboard ## the whole suite, in minutes
	$(BIN)/python -m pytest -n $(WORKERS) -m "not long"

test-long: $(VENV)/.dev $(VENV)/.dashboard ## the tests that take many minutes each
	$(BIN)/python -m pytest -m long --timeout 1800 -s

attack: $(VENV)/.dev $(VENV)/.dashboard ## every known attack against a live service, and a table [SEED=n] [ONLY=kind or name]
	$(BIN)/python -m tests.attack $(if $(SEED),--attack-seed $(SEED)) $(if $(ONLY),-k "$(ONLY)")

types: $(VENV)/.tools $(VENV)/.dashboard ## write the dashboard's types from the service's own
	$(BIN)/python scripts/dashboard_types.py

tables: $(VENV)/.tools ## write the generated tables of docs/
	$(BIN)/python -m scripts.doc_tables

coverage: $(VENV)/.tools $(if $(ALL),$(VENV)/.dev $(VENV)/.dashboard) ## how much of service/ the unit tests run; with ALL=1 the suite
	$(BIN)/python -m pytest --quiet --cov $(if $(ALL),-n $(WORKERS) -m "not long",$(UNIT))

format: $(VENV)/.tools ## format and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(NPM) run --silent format

bench: $(VENV)/.dev $(VENV)/.dashboard ## the measurements, beside other libraries [QUICK=1] [SAVE=1]
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(if $(SAVE),--save)

figures: $(VENV)/.tools ## sizes of modules and functions, complexity, words to avoid
	@$(BIN)/python scripts/figures.py

constraints: $(VENV)/.tools ## write the installed versions to constraints.txt
	$(BIN)/python scripts/constraints.py

# --- to give it away ---

dashboard: $(VENV)/.dashboard ## build the pages

build: $(VENV)/.venv ## the wheel, in dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

.PHONY: help demo serve setup unit check test test-long attack types tables coverage format bench figures constraints dashboard build
