# Two commands do everything: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
# Another torch (a CUDA build): change its line in constraints.txt, or e.g. make setup TORCH_FLAGS="--index-url URL"
TORCH_FLAGS ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
# Test workers: one thread each. Two processes with two threads each on two cores run 23 times slower.
WORKERS ?= 2

.PHONY: setup quickstart test check bench clean
setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "potstill needs Python 3.11 or newer as '$(PYTHON)': sudo apt-get install python3 (or make PYTHON=python3.11)"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing: sudo apt-get install python3-venv"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH_FLAGS) "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	@touch $@

quickstart: $(STAMP)
	$(BIN)/python recipes/quickstart.py

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not slow"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m slow

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	for bench in bench/*.py; do $(BIN)/python $$bench --quick || exit 1; done

clean:
	rm -rf runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
