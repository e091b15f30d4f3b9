# Two commands matter: `make demo` and `make test`. Each does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := demo
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test check-fast quick-torch quick-rest lint types contracts docs clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## make .venv with the pinned packages

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Rushes needs Python 3.11 or later, this is " + sys.version.split()[0] + "; give PYTHON=python3.12, say") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "no venv module: on Debian, apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	@free=$$(df -Pk . | awk 'NR == 2 { print int($$4 / 1048576) }'); test "$${free:-99}" -ge 10 || \
	  echo "only $$free GB are free here: the packages take about 6, and some 4 more while they come in"
	@echo "installing the pinned packages into $(VENV) (a few minutes, about 6 GB) ..."
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)  ## a whole night on the bundled sheet, on the CPU
	@RUSHES_PRESETS_DIR=manifests/examples/demo/presets \
	  $(BIN)/rushes run manifests/examples/demo/shots.csv --root $(DEMO) --device cpu

test: $(READY)  ## all tests, two files at a time: half of a night's test is waiting
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

# The quick tests in two processes, one for those that import torch and the pipelines, so that it is
# done once; workers that share all tests would each import all of it.
QUICK := quick-torch quick-rest
WITH_TORCH := tests/render tests/qc/test_bench.py tests/qc/test_inner_loops.py tests/qc/test_lpips.py
quick-torch: TESTS := $(WITH_TORCH)
quick-rest: TESTS := --no-torch tests $(WITH_TORCH:%=--ignore=%)

check-fast: $(READY)  ## lint, contracts and the quick tests; types take longer
	@$(MAKE) --no-print-directory --keep-going --jobs --output-sync=target $(QUICK) lint contracts

# What is slow and proves nothing is left out: reading every test anew, waiting for the disk where
# there is room in memory, and hanging two handlers into a thousand loggers round each test.
$(QUICK): export PYTHONDONTWRITEBYTECODE :=
$(QUICK): export OMP_NUM_THREADS := 1
$(QUICK): $(READY)
	@TMPDIR=$${TMPDIR:-$$(df --output=avail /dev/shm 2>/dev/null \
	    | awk 'NR == 2 && $$1 > 500000 { print "/dev/shm" }')} \
	  $(BIN)/python -m pytest -q -m 'not slow' --hypothesis-profile=quick -p no:logging \
	  -o tmp_path_retention_policy=failed -o cache_dir=.pytest_cache/$@ $(TESTS)

lint: $(READY)  ## ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)  ## mypy, strict
	@$(BIN)/mypy

contracts: $(READY)  ## who may import whom
	@$(BIN)/lint-imports

docs: $(READY)  ## write the generated pages again
	@$(BIN)/python docs/generate.py

clean:  ## remove .venv, caches and the demo's night
	rm -rf $(VENV) $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
