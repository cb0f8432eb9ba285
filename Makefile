# `make` alone prints this help. Everything below works on a machine with Python 3.11, pip and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

help:  ## print this help
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 14

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[metrics]' \
		|| echo "PESQ is compiled where it is installed, and that failed here: runs are scored without PESQ and STOI."
	@touch $@

install: .venv/installed  ## make .venv with the versions of constraints.txt

train: .venv/installed  ## train the default experiment (ARGS="experiment=..." for another)
	$(BIN)/speechml-train $(ARGS)

PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

test: .venv/installed  ## run the tests, but for the slow ones
	$(PYTEST) -m "not slow"

test-slow: .venv/installed  ## run the slow tests: several processes, kills, every shipped experiment
	$(PYTEST) -m slow

test-slurm: .venv/installed  ## run the tests that need a Slurm: scripts/slurm_sandbox.sh up, before
	eval "$$(scripts/slurm_sandbox.sh env)" && $(BIN)/python -m pytest --durations=5 tests/sweep/test_slurm.py

lint: .venv/installed  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

tensorboard: .venv/installed  ## show all runs in a browser, on this machine only
	$(BIN)/speechml tensorboard

.venv/docs-installed: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

docs: .venv/docs-installed  ## build the pages of docs/ as a site: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html in a browser"

bench: .venv/installed  ## time the library against what people use now
	for name in convolution windows words features saving sweeps fused reports; do \
		$(BIN)/python scripts/benchmark.py $$name || exit 1; \
	done

.PHONY: help install train test test-slow test-slurm lint tensorboard docs bench
.DEFAULT_GOAL := help
