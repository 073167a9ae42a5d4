# Two commands from a bare checkout: `make sweep` and `make test`. Both make .venv themselves and do nothing the second time.
PYTHON ?= python3
VENV   := .venv
OWN    := $(VENV)/bin/python
# An active environment that has the packages is used as it is, unless PYTHON is given; otherwise $(VENV) is made.
has     = $(if $(and $(VIRTUAL_ENV),$(filter file,$(origin PYTHON))),$(shell $(VIRTUAL_ENV)/bin/python -c 'import sys; from importlib.util import find_spec as f; sys.stdout.write("yes" * all(map(f, sys.argv[1:])))' $(1) 2>/dev/null))
RUNS   := $(call has,torch transformers peft lm_eval datasets hydra pydantic wandb pandas matplotlib gguf sacrebleu rouge_score)
TESTS  := $(and $(RUNS),$(call has,pytest xdist hypothesis ruff mypy nbclient statsmodels))
PY     := $(if $(RUNS),$(VIRTUAL_ENV)/bin/python,$(OWN))
TPY    := $(if $(TESTS),$(VIRTUAL_ENV)/bin/python,$(OWN))
RUN    := $(if $(RUNS),,$(VENV)/.run)
DEV    := $(if $(TESTS),,$(VENV)/.dev)
ALL    := $(if $(TESTS),,$(VENV)/.all)
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
	@test -x $(OWN) || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing torch, then the rest, as pinned in constraints.txt (a few minutes, once)"
	@$(OWN) -m pip install -q --disable-pip-version-check -c constraints.txt torch
	@$(OWN) -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "installing what tests and lint need"
	@$(OWN) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.all: $(VENV)/.dev
	@echo "installing Ray for its test"
	@$(OWN) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev,ray]' || echo "Ray could not be installed: its test will be skipped"
	@touch $@

sweep: $(RUN)  ## run what is missing of a study, then its report; again = resume
	@$(PY) -m olora_bench.study run $(SWEEP) $(ARGS)

plan: $(RUN)  ## what a study would run and what is done already; runs nothing
	@$(PY) -m olora_bench.study plan $(SWEEP) $(ARGS)

report: $(RUN)  ## a study's tables again from results/
	@$(PY) -m olora_bench.study report $(SWEEP) $(ARGS)

figures: $(RUN)  ## a study's tables and figures again from results/
	@$(PY) -m olora_bench.study figures $(SWEEP) $(ARGS)

assets: $(RUN)  ## fetch models and data of a study ahead of time
	@$(PY) -m olora_bench.study assets $(SWEEP) $(ARGS)

test: $(DEV)  ## the tests, without what takes minutes
	@OMP_NUM_THREADS=1 $(TPY) -m pytest -n $(JOBS) --dist loadfile -m "not slow and not fuzz and not assets and not gpu and not hub" $(ARGS)

test-all: $(ALL)  ## the tests that `make test` leaves out; what is absent here is skipped with its reason
	@OMP_NUM_THREADS=1 $(TPY) -m pytest -n $(JOBS) --dist loadfile -m "slow or assets or gpu or hub" $(ARGS)

fuzz: $(DEV)  ## 1,000 odd overrides, 300 odd study files and 300 damaged trees (several minutes)
	@OMP_NUM_THREADS=1 $(TPY) -m pytest -n $(JOBS) -m fuzz tests/fuzz $(ARGS)

storm: $(DEV)  ## 600 faults in the workers of tiny studies: kills, pauses, full disks, set clocks (half an hour)
	@OMP_NUM_THREADS=1 $(TPY) tests/faults/storm.py --table perf/results/storm.json $(ARGS)

lint: $(DEV)  ## ruff and mypy
	@$(TPY) -m ruff check . && $(TPY) -m ruff format --check . && $(TPY) -m mypy

perf: $(DEV)  ## speed and memory beside PEFT (PERF=init), TRL (PERF=train) and lm-eval (PERF=eval)
	@for part in $(PERF); do $(TPY) -m perf.$$part $(ARGS) || exit 1; done

gpu-check: $(DEV)  ## what only a GPU can show, in at most nine minutes
	@$(TPY) -m perf.gpu $(ARGS)

# For a machine without a network that has torch, transformers and peft: copy the checkout with this folder (a few MB) there.
GPU_PIP = $(PY) -m pip download -q --disable-pip-version-check -d build/gpu-wheels --python-version 3.12 --platform manylinux2014_x86_64
gpu-wheels: $(RUN)  ## what a bare machine with a GPU needs for: python3 -m perf.gpu --wheels build/gpu-wheels
	@$(GPU_PIP) --only-binary=:all: pydantic
	@$(GPU_PIP) --only-binary=:all: --no-deps -r perf/gpu/wheels.txt
	@$(PY) -m pip wheel -q --disable-pip-version-check --no-deps -w build/gpu-wheels antlr4-python3-runtime==4.9.3 rouge-score

clean:  ## remove caches and .venv; never results/
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
