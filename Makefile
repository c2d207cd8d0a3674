# One entry for people and CI. Needs Python 3.11 to 3.13 and make; everything else lands in .venv.
# Another interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench bench-state bench-snapshots faults docs lock

help:  ## Show what can be made
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 17

demo: .venv/ready  ## Start Kafka and a registry, feed real flights, run two products, prove a snapshot
	$(BIN)/headwater demo

# Side by side: those on the broker mostly wait for it, so they go first and the others take what
# is left (nice). What these found is told behind them.
TABLES := tests/delta tests/iceberg tests/parquet tests/reader tests/snapshot
OTHERS := -m "not kafka and not slow and not faults"
test: .venv/ready  ## Run the tests, those on the real broker and registry included
	@told=$$(mktemp -d); \
	nice -n 5 $(BIN)/python -m pytest $(OTHERS) $(TABLES) > $$told/tables 2>&1 & tables=$$!; \
	nice -n 5 $(BIN)/python -m pytest $(OTHERS) $(TABLES:%=--ignore=%) > $$told/others 2>&1 & others=$$!; \
	$(BIN)/python -m pytest -m "kafka and not slow and not faults"; code=$$?; \
	for each in $$tables $$others; do wait $$each || code=1; done; \
	cat $$told/tables $$told/others; rm -r $$told; exit $$code

check: .venv/ready  ## Run the gates: format, lint, types, room borders, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: .venv/ready  ## Put the code into the common format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/ready  ## Measure throughput, cost per event and latency beside a baseline
	$(BIN)/python tests/benchmarks

bench-state: .venv/ready  ## Measure steps with state beside Kafka Streams; takes half an hour
	$(BIN)/python -m tests.benchmarks.stateful

bench-snapshots: .venv/ready  ## Measure snapshots: taken, proved and read on, in every table format
	$(BIN)/python tests/benchmarks/snapshots.py

faults: .venv/ready  ## Kill, pause and take over processes again and again; takes long
	$(BIN)/python -m pytest -m "faults or slow" --timeout 1800
	$(BIN)/python -m pytest -m "hypothesis and not faults and not slow" --hypothesis-profile thorough --timeout 1800

docs: .venv/ready  ## Write the pages made from the code
	$(BIN)/python -m headwater.config.reference > docs/settings.md
	$(BIN)/python -m headwater.observe.reference > docs/metrics.md

lock:  ## Resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --extra dev --extra iceberg --extra sql --group check --universal --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate --upgrade \
	  --quiet --output-file requirements.lock

# Dependencies are installed when the lock changes, the project itself when its metadata does.
.venv/ready: .venv/locked pyproject.toml
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/locked: requirements.lock
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); \
	  sys.exit(None if ok else "Headwater needs Python 3.11 to 3.13; %s is %s. Try: make PYTHON=python3.13" \
	  % (sys.executable, sys.version.split()[0]))'
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@echo "Installing the locked dependencies into .venv (once, and when the lock changes) ..."
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	@touch $@
