# Everything is a target; `make` alone lists them. Each uses .venv, which `make setup` creates.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_TRACKING_URI ?= sqlite:///mlflow.db
export DVC_NO_ANALYTICS := 1
STAMP := $(VENV)/.installed

.PHONY: help setup data repro sync test check lint types ui clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say which with: make PYTHON=python3.11 ..."; exit 2; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: $(STAMP) ## make .venv and install the pinned packages

data: $(STAMP) ## render the default data (scores, tunes) where it is missing
	earlayers data

repro: data ## set-up, default data, the whole pipeline, and its runs in MLflow
	dvc repro
	earlayers sync

sync: $(STAMP) ## create the MLflow runs that are missing, once each
	earlayers sync

test: $(STAMP) ## run all tests, the slow ones too
	pytest -q

lint: $(STAMP) ## ruff: style and formatting
	ruff check .
	ruff format --check .

types: $(STAMP) ## mypy
	mypy

check: lint types test ## what must pass before a change lands

clean: ## remove caches of the tools; data, models and results stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis lightning_logs
