PYTHON ?= python3
VENV ?= .venv
# Another file of constraints needs an environment of its own: make VENV=... CONSTRAINTS=... test
CONSTRAINTS ?= constraints.txt
RUN := MPLBACKEND=Agg $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)/python

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-packages test-library test-device test-slow test-processors lint format docs bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/test.stamp ## Compress and code sentence embeddings, print scores and draw two plots
	$(RUN) -u examples/plot_compress_embeddings.py
	$(RUN) -u examples/plot_codes.py

# Each process computes on one thread, so that two of them do not compete for the cores.
TEST := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(RUN)
# Slipcover adds about 5% to the time of the tests, the tracer of coverage.py 60%.
COVERAGE := -m slipcover --source skperco --skip-covered --fail-under 96
# Otherwise the output of two processes would be mixed.
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

test: lint ## Check the style, run the tests and check their coverage
	@echo "Three groups of tests, two at a time; each prints its results when it is done."
	@$(MAKE) --no-print-directory --jobs=2 $(SYNC) test-packages test-library test-device

test-packages: $(VENV)/test.stamp ## Run the tests of the packages only, and check their coverage
	$(TEST) $(COVERAGE) -m pytest -q $(filter-out tests/device/,$(wildcard tests/*/))

test-library: $(VENV)/test.stamp ## Run the tests of the library as a whole only
	$(TEST) -m pytest -q $(wildcard tests/*.py) skperco

test-device: $(VENV)/test.stamp ## Run the tests on a simulated accelerator only
	$(TEST) -m pytest -q tests/device

test-slow: $(VENV)/test.stamp ## Run the long tests
	$(RUN) -m pytest -m slow

PROCESSORS := ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=SSE4_2 \
	MKL_ENABLE_INSTRUCTIONS=AVX2 OPENBLAS_CORETYPE=Nehalem OPENBLAS_CORETYPE=Haswell

# Threads wait passively, since two processes share the cores.
test-processors: $(VENV)/test.stamp ## Run the tests with the instructions of other processors
	@set -e; for processor in $(PROCESSORS); do for threads in 1 2; do \
		echo "$$processor OMP_NUM_THREADS=$$threads"; \
		env $$processor OMP_NUM_THREADS=$$threads OMP_WAIT_POLICY=passive \
			$(MAKE) --no-print-directory test; done; done

lint: $(VENV)/test.stamp ## Check style, spelling and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m codespell_lib
	$(RUN) -m mypy

format: $(VENV)/test.stamp ## Format the code and fix what can be fixed automatically
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

docs: $(VENV)/docs.stamp ## Build the site into docs/_build/html
	$(RUN) -m sphinx -W --keep-going docs docs/_build/html

bench: $(VENV)/test.stamp ## Run the benchmarks
	@set -e; for script in $(wildcard benchmarks/*.py); do echo "$$script"; $(RUN) -u "$$script"; done

clean: ## Remove all that make has created, including the environment
	rm -rf $(VENV) build dist docs/_build docs/auto_examples docs/generated docs/sg_execution_times.rst
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "skperco needs Python 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/%.stamp: pyproject.toml $(CONSTRAINTS) | $(VENV)/pyvenv.cfg
	$(RUN) -m pip install -e '.[$*]' -c $(CONSTRAINTS)
	@touch $@
