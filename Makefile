# make compare      install what running needs into .venv, then compare two optimizers
# make test         add what testing needs, then run the quick tests
# make test-slow    the other tests: faults, PostgreSQL, browser, longer training
# make docs         build the documentation site into docs/_build/html
# make format lint bench bench-smoke bench-gpu clean
#
# PYTHON=python3.13           another interpreter, 3.11 to 3.13
# TORCH=torch==2.11.0         another torch
# INDEX="--index-url URL"     where torch comes from: the builds for CPU and for each CUDA
#                             version have indexes of their own, listed at pytorch.org

PYTHON ?= python3
TORCH ?= torch==2.13.0
INDEX ?=
# Tests at a time, each on one thread.
JOBS ?= 2

VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet
# The stamps carry torch's version, so that asking for another one installs it.
TORCH_STAMP := $(VENV)/.installed-$(subst =,-,$(notdir $(TORCH)))
RUN_STAMP := $(TORCH_STAMP)-run
TEST_STAMP := $(TORCH_STAMP)-test
QUICK := not slow and not postgres and not browser
SLOW := slow or postgres or browser

.PHONY: compare test test-slow docs format lint bench bench-smoke bench-gpu clean

compare: $(RUN_STAMP)
	$(VENV)/bin/bench compare --optimizers nag,hf

test: $(TEST_STAMP)
	$(VENV)/bin/python -m pytest -n $(JOBS) --dist worksteal -m "$(QUICK)"

test-slow: $(TEST_STAMP)
	$(VENV)/bin/python -m pytest -n $(JOBS) --dist worksteal -m "$(SLOW)"

# -W: a link that leads nowhere, or a page in no table of contents, is an error.
docs: $(TEST_STAMP)
	$(VENV)/bin/python -m sphinx -q -W --keep-going -n -b html docs docs/_build/html

format: $(TEST_STAMP)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

lint: $(TEST_STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(RUN_STAMP)
	$(VENV)/bin/python -m benchmarks.run

bench-smoke: $(RUN_STAMP)
	$(VENV)/bin/python -m benchmarks.run --smoke

# Numba's CUDA backend is large, and of use only with a GPU.
bench-gpu: $(RUN_STAMP)
	@! command -v nvidia-smi >/dev/null || $(PIP) -c constraints.txt -e '.[cuda]'
	$(VENV)/bin/python -m benchmarks.run --gpu

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find bench optim models harness tests benchmarks examples docs -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "$(PYTHON) is not Python 3.11 to 3.13: name another one, as in make PYTHON=python3.13" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# First and alone: resolved together with the rest, pip may choose another build, with
# gigabytes of CUDA libraries.
$(TORCH_STAMP): | $(VENV)/bin/python
	@echo "Installing $(TORCH) into $(VENV) (a minute or two)"
	@rm -f $(VENV)/.installed-*
	@$(PIP) $(INDEX) -c constraints.txt "$(TORCH)"
	@touch "$@"

$(RUN_STAMP): $(TORCH_STAMP) pyproject.toml constraints.txt
	@echo "Installing bench and its libraries into $(VENV) (a minute or two)"
	@$(PIP) -c constraints.txt -e .
	@touch "$@"

$(TEST_STAMP): $(RUN_STAMP)
	@echo "Installing what the tests need into $(VENV)"
	@$(PIP) -c constraints.txt -e '.[test,docs,postgres,cuda]'
	@touch "$@"
