# Needs Python >= 3.10 (with venv and pip), git and make; everything else goes into .venv.
PYTHON ?= python3
AIRFLOW := apache-airflow==3.3.2

BIN := .venv/bin
UV := $(BIN)/uv --system-certs
READY := .venv/.ready

.PHONY: help demo test lint format constraints clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' Makefile

demo: $(READY)  ## run the example DAGs in a real Airflow against the sandbox; KEEP=1 leaves it up
	$(BIN)/python -m dev.demo

test: lint  ## lint, then run the tests
	$(BIN)/python -m pytest

lint: $(READY)  ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY)  ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

constraints: $(READY)  ## choose the versions in dev/constraints.txt anew
	printf '%s\n' '$(AIRFLOW)' uv | $(UV) pip compile --quiet --universal --python-version 3.10 \
		--no-header --no-annotate --upgrade --extra dev -o dev/constraints.txt pyproject.toml -

clean:  ## remove everything that make made
	rm -rf .venv .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml dev/constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint dev/constraints.txt uv
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python \
		--constraint dev/constraints.txt --editable '.[dev]' '$(AIRFLOW)'
	touch $@
