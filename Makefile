# Everything a checkout needs: `make setup` once, then `make demo` or `make test`.
# Nothing is installed outside .venv; every package is pinned by its hash.

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))
STAMP := $(VENV)/.set-up
PEERS_VENV ?= .venv-bench
PEERS := $(PEERS_VENV)/.set-up
ORACLE_VENV ?= .venv-oracle
ORACLE := $(ORACLE_VENV)/.set-up
NATIVE := $(wildcard src/divertor/envoy/filter/*.c src/divertor/envoy/filter/*.h)
SOURCES := src sensor tests examples bench hatch_build.py
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command 'make lock'

# ElastAlert 2 with what its rule types and its Slack and command alerters import, of its 60 packages (550 MB).
ORACLE_PACKAGES := 'elastalert2==2.19.0' 'elasticsearch==7.10.1' 'urllib3<2' aws-requests-auth boto3 botocore \
	s3transfer jmespath certifi charset-normalizer idna jinja2 markupsafe prettytable wcwidth python-dateutil six \
	sortedcontainers pytz pyyaml requests texttable

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench-gateway bench-loop bench-fuzz bench-sensor bench-detection
.PHONY: bench-fuzz-sensor bench-rules bench-rules-history bench-rules-kill lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/' | column -t -s '|'

setup: $(STAMP)  ## the virtual environment with everything in it (quick when it is up to date)
	@:

$(STAMP): requirements.lock requirements-compiler.lock pyproject.toml hatch_build.py $(NATIVE) \
		sensor/pyproject.toml sensor/divertor_sensor_autostart.pth
	@test -n "$(PYTHON)" || { echo "make setup: no Python found; install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make setup: $(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.11 or newer is needed (make PYTHON=…)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "make setup: $(PYTHON) cannot make virtual environments; install its venv module" >&2; exit 1; }
	@echo "Installing into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@test -n "$$CC" || command -v cc >/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-compiler.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e sensor
	@touch $@

demo: setup  ## the demo shop under Divertor, in the foreground; Ctrl-C ends it
	@$(BIN)/divertor demo

lint: setup  ## style and types
	@$(BIN)/ruff check $(wildcard $(SOURCES))
	@$(BIN)/ruff format --check $(wildcard $(SOURCES))
	@$(BIN)/mypy
	@$(BIN)/mypy $(wildcard tests sensor/tests bench)
	@MYPYPATH=examples/hackable:src:sensor/src $(BIN)/mypy examples/hackable

test: lint $(ORACLE)  ## everything that must hold before a change is merged
	@$(BIN)/python -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

bench-gateway: setup  ## the gateway beside bare Envoy, HAProxy and nginx (needs wrk, haproxy, nginx)
	@$(BIN)/python -m bench.gateway $(BENCH_ARGS)

bench-loop: setup  ## how long an isolation takes from an attack to being in effect
	@$(BIN)/python -m bench.loop

bench-fuzz: setup  ## a million hostile inputs for each reader: no crash, no hang (takes about an hour)
	@$(BIN)/python -m bench.fuzz $(BENCH_ARGS)

bench-sensor: setup $(PEERS)  ## what the sensor costs beside its rivals (needs wrk)
	@$(BIN)/python -m bench.sensor --peers $(PEERS_VENV)/bin/python $(BENCH_ARGS)

bench-detection: setup $(PEERS)  ## what the sensor finds beside its rivals (PostgreSQL and MariaDB where they are installed)
	@$(BIN)/python -m bench.detection --peers $(PEERS_VENV)/bin/python $(BENCH_ARGS)

bench-fuzz-sensor: setup $(PEERS)  ## a million inputs, led by coverage, for each part of the sensor that reads what attackers write
	@$(PEERS_VENV)/bin/python -m bench.fuzz_sensor $(BENCH_ARGS)

bench-rules: setup $(ORACLE)  ## what judging events costs beside ElastAlert 2 (about 15 minutes)
	@$(BIN)/python -m bench.rules $(BENCH_ARGS)

bench-rules-history: setup  ## a backtest over ten million stored events (needs 3 GB of disk)
	@$(BIN)/python -m bench.rules.history $(BENCH_ARGS)

bench-rules-kill: setup  ## a rule worker killed a hundred times under load: what is lost, what is doubled (7 minutes)
	@$(BIN)/python -m bench.rules_kill --kills 100 $(BENCH_ARGS)

$(PEERS): requirements-bench.lock $(STAMP)
	@test -x $(PEERS_VENV)/bin/python || $(PYTHON) -m venv $(PEERS_VENV)
	@echo "Installing the rivals into $(PEERS_VENV) …"
	@$(PEERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@$(PEERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e sensor
	@touch $@

$(ORACLE): requirements-oracle.lock
	@test -x $(ORACLE_VENV)/bin/python || $(PYTHON) -m venv $(ORACLE_VENV)
	@echo "Installing ElastAlert 2, which rules are compared with, into $(ORACLE_VENV) …"
	@$(ORACLE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		-r requirements-oracle.lock
	@touch $@

lock:  ## pins anew what pyproject.toml asks for (needs uv)
	$(LOCK) --upgrade --no-emit-package divertor-sensor --extra demo --group dev pyproject.toml -o requirements.lock
	$(LOCK) --upgrade --group bench -o requirements-bench.lock
	printf 'greenlet>=3\nmysqlclient>=2.2\nmysql-connector-python>=9,<10\n' | $(LOCK) --upgrade - -o requirements-drivers.lock
	printf '%s\n' $(ORACLE_PACKAGES) | $(LOCK) --upgrade --no-deps - -o requirements-oracle.lock
	echo 'ziglang>=0.15' | $(LOCK) --upgrade - -o requirements-compiler.lock

clean:  ## removes what setup and the tests made
	rm -rf $(VENV) $(PEERS_VENV) $(ORACLE_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find src sensor -name '*.so' -delete
