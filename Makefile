# Two commands from a bare checkout: `make sweep` and `make test`. Both make .venv themselves and do nothing the second time.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
SWEEP  ?= demo
PERF   ?= init train eval
ARGS   ?=
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help sweep plan report figures assets test test-all fuzz storm lint perf gpu-check gpu-wheels clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-9s %s\n", $$1, $$2}'
	@echo "  SWEEP=name chooses a study of sweeps/ (default: demo); ARGS='key=value ...' adds overrides."

$(VENV)/.run: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Python {v.major}.{v.minor} does not fit: olora_bench needs 3.11 to 3.13. Name one: make PYTHON=python3.12 ...")'
	@test -x $(PY) || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing torch, then the rest, as pinned in constraints.txt (a few minutes, once)"
	@$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt torch
	@$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "installing what tests and lint need"
	@$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.all: $(VENV)/.dev
	@echo "installing Ray for its test"
	@$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev,ray]' || echo "Ray could not be installed: its test will be skipped"
	@touch $@

sweep: $(VENV)/.run  ## run what is missing of a study, then its report; again = resume
	@$(PY) -m olora_bench.study run $(SWEEP) $(ARGS)

plan: $(VENV)/.run  ## what a study would run and what is done already; runs nothing
	@$(PY) -m olora_bench.study plan $(SWEEP) $(ARGS)

report: $(VENV)/.run  ## a study's tables again from results/
	@$(PY) -m olora_bench.study report $(SWEEP) $(ARGS)

figures: $(VENV)/.run  ## a study's tables and figures again from results/
	@$(PY) -m olora_bench.study figures $(SWEEP) $(ARGS)

assets: $(VENV)/.run  ## fetch models and data of a study ahead of time
	@$(PY) -m olora_bench.study assets $(SWEEP) $(ARGS)

test: $(VENV)/.dev  ## the tests, without what takes minutes
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile -m "not slow and not fuzz and not assets and not gpu and not hub" $(ARGS)

test-all: $(VENV)/.all  ## the tests that `make test` leaves out; what is absent here is skipped with its reason
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile -m "slow or assets or gpu or hub" $(ARGS)

fuzz: $(VENV)/.dev  ## 1,000 odd overrides, 300 odd study files and 300 damaged trees (several minutes)
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) -m fuzz tests/fuzz $(ARGS)

storm: $(VENV)/.dev  ## 600 faults in the workers of tiny studies: kills, pauses, full disks, set clocks (half an hour)
	@OMP_NUM_THREADS=1 $(PY) tests/faults/storm.py --table perf/results/storm.json $(ARGS)

lint: $(VENV)/.dev  ## ruff and mypy
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

perf: $(VENV)/.dev  ## speed and memory beside PEFT (PERF=init), TRL (PERF=train) and lm-eval (PERF=eval)
	@for part in $(PERF); do $(PY) -m perf.$$part $(ARGS) || exit 1; done

gpu-check: $(VENV)/.dev  ## what only a GPU can show, in at most nine minutes
	@$(PY) -m perf.gpu $(ARGS)

# For a machine without a network that has torch, transformers and peft: copy the checkout with this folder (a few MB) there.
GPU_PIP = $(PY) -m pip download -q --disable-pip-version-check -d build/gpu-wheels --python-version 3.12 --platform manylinux2014_x86_64
gpu-wheels: $(VENV)/.run  ## what a bare machine with a GPU needs for: python3 -m perf.gpu --wheels build/gpu-wheels
	@$(GPU_PIP) --only-binary=:all: pydantic
	@$(GPU_PIP) --only-binary=:all: --no-deps -r perf/gpu/wheels.txt
	@$(PY) -m pip wheel -q --disable-pip-version-check --no-deps -w build/gpu-wheels antlr4-python3-runtime==4.9.3 rouge-score

clean:  ## remove caches and .venv; never results/
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
