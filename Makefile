PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt

.PHONY: run test test-faults check format install install-dev bench peers nano screenshots clean

run: install workspace ## open loratui on your rounds in workspace/, which starts with the five that ship
	@$(BIN)/loratui workspace

# Git ignores it, so that a round that you train changes no file of the repository.
workspace:
	@mkdir -m 700 $@
	@git show HEAD:experiments.json > $@/experiments.json 2>/dev/null || cp experiments.json $@

# Three processes, on two processors too, as a third of what tests do is waiting; a thread each. The files in their
# order, which has the short ones at the end, so that no process is left alone with a long one.
test: check ## everything there is to run
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=10

test-faults: install-dev ## kills, full disks and hostile text, hundreds of times; ends with a table (up to 20 minutes)
	$(BIN)/pytest -n 2 --dist load --long --timeout 1200 tests/faults

check: install-dev ## style, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install-dev ## put the style right
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "loratui needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 run" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing into $(VENV) ..."
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e '.[dev]'
	@touch $@

bench: install-dev ## what benchmarks/ need beside that
	$(PIP) -e '.[bench]'

peers: install-dev ## what benchmarks/terminal.py compares with, in .venv-peers
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip --disable-pip-version-check install -q -r benchmarks/peers/requirements.txt

nano: install ## make the embedded model and its data anew (about ten minutes)
	$(BIN)/python scripts/make_nano.py

screenshots: install-dev ## draw the screens that the README shows
	$(BIN)/python -m scripts.screenshots

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
