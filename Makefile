# Everything is a target; `make` alone lists them. Each uses .venv, which `make setup` creates.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_TRACKING_URI ?= sqlite:///mlflow.db
export DVC_NO_ANALYTICS := 1
# holds the folder that was set up
STAMP := $(VENV)/.installed

# the cell of the tuning targets (50 units unless UNITS= says), and how long to search
DATASET ?= scores
METHOD ?= relu_sgd
UNITS ?=
TRIALS ?= 30
JOBS ?=
STORAGE ?=
SEED ?=
TIMEOUT ?=
SAMPLER ?=
OBJECTIVES ?=
GRID ?=
SEARCH = $(DATASET) $(METHOD) $(or $(UNITS),50) $(if $(JOBS),--jobs $(JOBS)) $(if $(STORAGE),--storage $(STORAGE)) \
  $(if $(TIMEOUT),--timeout $(TIMEOUT))
# of the Dask cluster to try
WORKERS ?= 2
PORT ?= 8786
DASHBOARD ?= 8787
# part of the paper's run
METHODS ?=
FOLDS ?=
PRESET ?=
MINUTES ?=
# a word for every method and size
PART = $(METHODS:%=--methods %) $(UNITS:%=--hidden-units %) $(if $(FOLDS),--folds $(FOLDS)) \
  $(if $(PRESET),--preset $(PRESET))

.PHONY: help setup data data-soundtracks repro taste sync ui experiments serve demo variants readme tune tune-paper tune-apply dashboard \
  paper-plan paper paper-overnight remote cluster bench bench-scaling bench-hf torture test test-fast check \
  lint types clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-17s %s\n", $$1, $$2}'

# in a copied or moved checkout every program of .venv still runs the code of the other folder
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

$(STAMP): pyproject.toml src/hessian_free/pyproject.toml constraints.txt
	@test -e .git || { echo "this folder is no clone (a ZIP holds no history, which DVC needs): clone with git"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say which with: make PYTHON=python3.11 ..."; exit 2; }
	@if [ -s $@ ] && [ "$$(cat $@)" != "$(CURDIR)" ]; then \
	  echo "$(VENV) was made in $$(cat $@): making it anew"; rm -rf $(VENV); fi
	@# without a program it is what a removed Python left, and venv would not mend its links
	@test -x $(VENV)/bin/python || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); } || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make $(VENV); on Debian and Ubuntu: apt install python3-venv"; exit 2; }
	@$(VENV)/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(VENV) is of a Python before 3.11, or of none that runs: rm -r $(VENV), and make again"; exit 2; }
	@$(VENV)/bin/python -m pip --version > /dev/null 2>&1 || { \
	  echo "$(VENV) has no pip: apt install python3-venv (Debian, Ubuntu), rm -r $(VENV), and make again"; exit 2; }
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable src/hessian_free --editable '.[dev]'
	@echo "$(CURDIR)" > $@

setup: $(STAMP) ## make .venv and install the pinned packages

data: $(STAMP) ## render the default data (scores, tunes) where it is missing
	earlayers data

repro: data ## set-up, default data, the whole pipeline, and its runs in MLflow
	@# an annex, which may have been removed
	-@earlayers plan
	@# one process shows all runs at the end: cheaper than every stage starting MLflow
	EARLAYERS_TRACKING=off dvc repro
	@# an annex too: without it there is nothing to show
	@test ! -d src/earlayers/tracking || earlayers sync
	-@earlayers summary

taste: $(STAMP) ## a first row of the table in under three minutes: few clips, in build/taste
	earlayers data scores
	@earlayers taste

sync: $(STAMP) ## create the MLflow runs that are missing, once each
	earlayers sync

ui: $(STAMP) ## compare the runs in a browser; Ctrl-C stops it
	earlayers ui

experiments: $(STAMP) ## compare what `dvc exp run -S ...` tried: parameters and accuracies that differ
	@test -n "$$(dvc exp list --name-only)" || \
	  echo "nothing has been tried since the last commit, so there is nothing to compare: docs/experiments.md says how"
	dvc exp show --only-changed --drop '(build|models|results/[a-z]+$$|.*(acc/l|std|none|net))'

serve: $(STAMP) ## answer requests for genres on this machine; Ctrl-C stops it
	earlayers serve

demo: $(STAMP) ## try a model on a song in the browser: drop or record one; Ctrl-C stops it
	earlayers demo

variants: $(STAMP) ## run the variants of params.yaml, time every fold alone, and put both into the report
	@# a target that no cell of the pipeline uses
	@if grep -q '^ *tunes_violin:' params.yaml; then earlayers data tunes_violin; fi
	dvc repro variants/dvc.yaml
	dvc repro report

readme: $(STAMP) ## put what results/ holds into README.md, docs/claims.md and docs/paper_run.md
	earlayers readme
	@# an annex, which may have been removed
	-@earlayers paper-shortcuts

tune: $(STAMP) ## search hyper-parameters: DATASET= METHOD= UNITS= TRIALS= [JOBS= STORAGE= SAMPLER= SEED= ...]
	earlayers tune $(SEARCH) --trials $(TRIALS) $(if $(SEED),--seed $(SEED)) \
	  $(if $(SAMPLER),--sampler $(SAMPLER)) $(if $(OBJECTIVES),--objectives $(OBJECTIVES))

tune-paper: $(STAMP) ## the paper's own grid search: DATASET= METHOD= UNITS=
	earlayers tune-paper $(SEARCH)

tune-apply: $(STAMP) ## write the best values of a search into params.yaml; of tune-paper: GRID=1
	earlayers tune-apply $(DATASET) $(METHOD) $(or $(UNITS),50) $(if $(GRID),--grid)

dashboard: $(STAMP) ## look at the searches in a browser
	python -m pip install --quiet --constraint constraints.txt --editable '.[dashboard]'
	earlayers dashboard $(if $(STORAGE),--storage $(STORAGE))

data-soundtracks: $(STAMP) ## fetch the optional dataset soundtracks (Debian only)
	earlayers data soundtracks

paper-plan: $(STAMP) ## what that run will cost here: [PRESET=overnight] [METHODS="..."] [UNITS="..."] [FOLDS=]
	@earlayers paper-plan $(PART)

paper: $(STAMP) ## the paper's own run on GTZAN and ISMIR 2004: [METHODS="..."] [UNITS="..."] [FOLDS=]
	@mkdir -p build
	@earlayers paper-params $(PART) --out build/params.wanted.yaml
	@# the same as wanted: a run that was cut short goes on
	@git diff --quiet HEAD -- params.yaml || cmp -s build/params.wanted.yaml params.yaml || \
	  { echo "params.yaml has uncommitted edits: commit them, or undo them (git checkout HEAD params.yaml)"; exit 2; }
	cp build/params.wanted.yaml params.yaml
	earlayers data gtzan ismir2004 || { git checkout --quiet HEAD params.yaml; exit 2; }
	@echo "params.yaml now holds the paper's protocol$(if $(PRESET), with params.$(PRESET).yaml); to go back:" \
	  "git checkout HEAD params.yaml dvc.lock results"
	dvc repro
	earlayers sync

# the same run with the changes of a second file
paper-overnight: PRESET = overnight
paper-overnight: paper ## the same cells in a night, by params.overnight.yaml: [METHODS="..."] [UNITS="..."] [FOLDS=]

remote: $(STAMP) ## keep data and models in a folder too: DIR=/somewhere, then dvc push and dvc pull
	@test -n "$(DIR)" || { echo "say where: make remote DIR=/somewhere"; exit 2; }
	@# a folder of this machine is nothing to commit
	dvc remote add --local --default --force folder "$(abspath $(DIR))"

cluster: $(STAMP) ## start a Dask cluster on this machine, to try: WORKERS= [PORT=8786]; Ctrl-C ends it
	@echo "in another terminal: export EARLAYERS_SCHEDULER=tcp://127.0.0.1:$(PORT), then as always;" \
	  "its dashboard: http://127.0.0.1:$(DASHBOARD)/status"
	@# an item is given up when three workers have died of it
	@export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=2; trap 'kill $$(jobs -p)' EXIT; \
	  dask scheduler --host 127.0.0.1 --port $(PORT) --dashboard-address 127.0.0.1:$(DASHBOARD) & \
	  dask worker tcp://127.0.0.1:$(PORT) --nworkers $(WORKERS) --nthreads 1 --no-dashboard

bench: $(STAMP) ## measure what docs/performance.md promises, and the race on digits (17 minutes; leave the machine alone)
	python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@# one after the other, each whatever became of the one before; the exit status says if any failed
	@failed=0; python benchmarks/speed.py || failed=1; \
	  python benchmarks/hf.py --only digits || failed=1; exit $$failed

bench-scaling: $(STAMP) ## time and memory of every stage against the number of clips (8 minutes)
	python benchmarks/scaling.py

bench-hf: $(STAMP) ## race the Hessian-free optimiser against others (hours; parts are kept)
	python benchmarks/hf.py

torture: $(STAMP) ## kill trainings, fill disks, ask the server nonsense: docs/reliability.md (an hour; MINUTES=)
	python benchmarks/torture.py $(if $(MINUTES),--minutes $(MINUTES))

# a file's tests share what was expensive to make, so they stay together; files with slow tests come first
PYTEST = OMP_NUM_THREADS=1 pytest -q --numprocesses $(CORES) --dist loadfile --no-loadscope-reorder
# nproc takes OMP_NUM_THREADS for the number of cores where it is set
CORES = $$(env -u OMP_NUM_THREADS nproc)

test: $(STAMP) ## run all tests, the slow ones too, on all cores
	$(PYTEST)

test-fast: $(STAMP) ## run what takes a minute on two cores: while working
	$(PYTEST) -m "not slow"

lint: $(STAMP) ## ruff: style and formatting
	ruff check .
	ruff format --check .

types: $(STAMP) ## mypy
	mypy

check: lint types test ## what must pass before a change lands

clean: ## remove caches of the tools; data, models and results stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis lightning_logs
