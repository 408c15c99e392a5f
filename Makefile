PYTHON ?= python3
VENV := .venv
RUN := MPLBACKEND=Agg $(VENV)/bin/python

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow test-processors lint format docs bench clean

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/test.stamp ## Compress real sentence embeddings: a table and a picture
	$(RUN) -u examples/plot_compress_embeddings.py

test: lint ## Check the style and run the tests
	$(RUN) -m pytest

test-slow: $(VENV)/test.stamp ## Run the long tests
	$(RUN) -m pytest -m slow

PROCESSORS := ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=SSE4_2 \
	MKL_ENABLE_INSTRUCTIONS=AVX2 OPENBLAS_CORETYPE=Nehalem OPENBLAS_CORETYPE=Haswell

test-processors: $(VENV)/test.stamp ## Run the tests with the instructions of other processors
	@set -e; for processor in $(PROCESSORS); do for threads in 1 2; do \
		echo "$$processor OMP_NUM_THREADS=$$threads"; \
		env $$processor OMP_NUM_THREADS=$$threads $(RUN) -m pytest -q; done; done

lint: $(VENV)/test.stamp ## Check the style
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(VENV)/test.stamp ## Put the code into the house style
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

docs: $(VENV)/docs.stamp ## Build the site into docs/_build/html
	$(RUN) -m sphinx -W --keep-going docs docs/_build/html

bench: $(VENV)/test.stamp ## Run the benchmarks
	@set -e; for script in $(wildcard benchmarks/*.py); do echo "$$script"; $(RUN) -u "$$script"; done

clean: ## Remove what make has made, the environment included
	rm -rf $(VENV) build dist docs/_build docs/auto_examples docs/generated docs/sg_execution_times.rst
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "skperco needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/%.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -e '.[$*]' -c constraints.txt
	@touch $@
