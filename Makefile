PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE # or each of a thousand processes would compile our modules again
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt

.PHONY: run test tests test-fast test-faults test-chance test-zoo test-oldest check check-beside format install install-dev bench peers nano screenshots clean

run: install workspace ## open loratui on your rounds in workspace/, which starts with the five that ship
	@$(BIN)/loratui workspace

# Git ignores it, so that a round that you train changes no file of the repository.
workspace:
	@mkdir -m 700 $@
	@git show HEAD:experiments.json > $@/experiments.json 2>/dev/null || cp experiments.json $@

# Style, types and layers are checked beside the tests, a third of whose time is waiting.
test: install-dev ## everything there is to run, but what depends on chance only a few times
	@$(MAKE) --no-print-directory -j 2 tests check-beside

# Temporary files stay in memory where it has room for 4 GB, so that nothing waits for the disk.
IN_MEMORY := $(shell test "$$(df --output=avail /dev/shm 2>&1 | tail -1)" -gt 4000000 2>&1 && \
	echo PYTEST_DEBUG_TEMPROOT=/dev/shm)

# More processes than processors, as they wait often; a thread each. A file stays in one process: its tests share rounds.
tests: install-dev
	$(IN_MEMORY) OMP_NUM_THREADS=1 $(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder --durations=10

check-beside:
	@printed=$$($(MAKE) --no-print-directory check 2>&1); status=$$?; echo "$$printed"; exit $$status

test-fast: install-dev ## what a small change needs, in under a minute: no torch, hardly a process
	$(BIN)/ruff check
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist load $(FAST)

FAST := tests/engine --ignore tests/engine/report --ignore tests/engine/runner --ignore tests/engine/store \
	--ignore tests/engine/preflight/test_target_modules.py tests/tui/views tests/tui/settings/test_config.py \
	tests/tui/widgets/test_key_footer.py tests/tui/screens/rounds/test_screen.py

test-faults: install-dev ## kills, full disks and hostile text, hundreds of times; ends with a table (up to 20 minutes)
	$(BIN)/pytest -n 2 --dist load --long --timeout 1200 tests/faults

test-chance: install-dev ## a thousand examples where the tests draw them, all cases, and a model that torch compiles (10 minutes)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist load --long --timeout 1200 -m "hypothesis or long or sample" --ignore tests/faults --ignore tests/zoo

test-zoo: install-dev ## a round of every family of models, against plain transformers and peft; writes docs/families.md (5 minutes)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -p no:xdist --long tests/zoo

# Beside the usual environment, and made anew each time; a warning of an older library is no error.
OLDEST := .venv-oldest
SAMPLE := tests/engine/spec tests/engine/dataset tests/engine/store/test_round_store.py tests/training/data/test_tokenize.py \
	tests/training/data/test_hub.py tests/training/model/test_adapter.py tests/training/model/test_targets.py \
	tests/training/model/test_qlora.py tests/tui/screens/rounds/test_screen.py tests/tui/widgets/chart

test-oldest: install-dev ## a sample of the tests with the oldest versions that pyproject.toml allows (5 minutes)
	rm -rf $(OLDEST) && cp -al $(VENV) $(OLDEST)
	$(BIN)/python -m scripts.oldest > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip --disable-pip-version-check install -q -c $(OLDEST)/constraints.txt \
		"$$(grep '^torch==' constraints.txt)" $$(cut -d= -f1 $(OLDEST)/constraints.txt)
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -q -p no:xdist -W default $(SAMPLE)

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
