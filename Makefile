# A newcomer's two commands: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TESTS_JS := tests/e2e/js
PAGES := $(shell find dashboard -name node_modules -prune -o -type f -print)
# The tests wait for other processes half of the time: one worker more than there are cores.
WORKERS ?= $(shell echo $$(($$(nproc) + 1)))
.DEFAULT_GOAL := help

help:
	@echo "make demo [ONCE=1] [FAIL=1] | test | test-long | check | serve | bench [QUICK=1] | format | setup | dashboard | build"

# What a demo needs: Python and its venv, nothing else.
$(VENV)/.demo: pyproject.toml
	sh scripts/packages.sh python
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	touch $@

# What the tests need: the above, the tools that they run, and the official JavaScript client.
$(VENV)/.dev: $(VENV)/.demo $(TESTS_JS)/package.json $(TESTS_JS)/package-lock.json scripts/packages.sh
	sh scripts/packages.sh tests
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	cd $(TESTS_JS) && npm ci --silent --no-audit --no-fund
	touch $@

# The pages. Where the machine has no Node, the one from PyPI.
$(VENV)/.dashboard: $(VENV)/.demo $(PAGES) scripts/build_dashboard.py
	needs=$$($(BIN)/python scripts/build_dashboard.py --needs); \
		test -z "$$needs" || $(BIN)/python -m pip install --quiet "$$needs"
	$(BIN)/python scripts/build_dashboard.py
	touch $@

setup: $(VENV)/.dev

dashboard: $(VENV)/.dashboard

demo: $(VENV)/.demo $(VENV)/.dashboard
	@$(BIN)/python -m service demo

serve: $(VENV)/.demo $(VENV)/.dashboard
	$(BIN)/python -m service serve

test: $(VENV)/.dev $(VENV)/.dashboard
	$(BIN)/python -m pytest -n $(WORKERS) -m "not long"

test-long: $(VENV)/.dev $(VENV)/.dashboard
	$(BIN)/python -m pytest -m long --timeout 1800 -s

check: $(VENV)/.dev $(VENV)/.dashboard
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd dashboard && npm run --silent check
	mkdir -p .build && rm -f .build/alembic.sqlite3
	$(BIN)/alembic upgrade head
	$(BIN)/alembic check

bench: $(VENV)/.dev $(VENV)/.dashboard
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

build: $(VENV)/.dev
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

.PHONY: help setup dashboard demo serve test test-long check bench format build
