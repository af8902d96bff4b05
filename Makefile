# Everything runs in .venv, which is made on the first call and again when the lock changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST_ARGS ?= -n 3 --dist loadfile --no-loadscope-reorder
UV ?= uv
ROOMS := activities api sluicegate workflows worker.py
# Compiled at once: engines write no bytecode, and the sandbox loads a workflow's module anew for each pipeline.

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.PHONY: help install dev demo test upgrade-test engine-test chaos lint format docs bench lock clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(INSTALLED)  ## Make the environment from the lock
	@$(BIN)/python -m compileall -q $(ROOMS)

$(INSTALLED): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.13"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV)"
	@$(BIN)/python -m pip install --quiet --require-hashes -r constraints.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

dev: install  ## Run Temporal, a worker and the API on this machine
	@$(BIN)/sluicegate dev

demo: install  ## Stream the flights of 2013 through a pipeline of `make dev` and check the answers
	@$(BIN)/sluicegate demo

test: install lint  ## Lint, check types and arrows, run the tests (PYTEST_ARGS="-k name")
	@$(BIN)/pytest $(PYTEST_ARGS) || { \
		echo "Once more what has failed, with nothing beside it: what fails again is broken."; \
		$(BIN)/pytest --last-failed --last-failed-no-failures none; }

upgrade-test: install  ## Go from the release before to this one and back, under load
	UPGRADE_TEST=long $(BIN)/pytest tests/upgrade

engine-test: install  ## Kill an engine at random and at named points, and compare many more steps of TPC-H and Nexmark
	KILLS=100 KILLS_AT_POINTS=10 STEP_BY_STEP=long STANDBY_MB=1024 STANDBY_ROUNDS=5 $(BIN)/pytest \
		tests/engine/test_killed.py tests/engine/test_step_by_step.py tests/engine/checkpoints/test_points.py \
		tests/engine/remote

lint: $(INSTALLED)  ## Lint, formatting, types, arrows between the rooms
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)  ## Format the code and fix what can be fixed
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(INSTALLED)  ## Write the pages that are made from the code
	@$(BIN)/python -m sluicegate.operate.error_table docs/errors.md
	@$(BIN)/python -m sluicegate.operate.settings_table docs/settings.md

bench: install  ## Measure
	$(BIN)/python -m benchmarks

chaos: install  ## Break a control plane for a while and judge it (SEED=1 MINUTES=10 OUT=folder)
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(OUT),--out $(OUT))

COMPILE := pip compile pyproject.toml --quiet --no-emit-index-url --no-header --no-annotate --generate-hashes

lock:  ## Make both locks again: all of it, and what the image needs (with uv; UPGRADE=--upgrade for newer versions)
	$(UV) $(COMPILE) $(UPGRADE) --extra dev --output-file constraints.txt
	$(UV) $(COMPILE) --constraint constraints.txt --output-file deploy/constraints.txt

clean:  ## Remove the environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
