# FLENwheel. `make` prints this help.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
PARAMS ?= params/mini/v1.yaml
GPU ?=
BIN := .venv/bin
READY := .venv/.ready
export TOKENIZERS_PARALLELISM := false

.PHONY: help setup demo test test-slow lint lab plan iterate step report turns studio audit lock clean

help: ## print this help
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PARAMS=params/<character>/<iteration>.yaml says what to run (now $(PARAMS)); N=12 says which step"
	@echo "  ARGS=\"--port 9999\" goes to JupyterLab"

setup: $(READY) ## make .venv with every package, pinned (minutes: torch is large); keep runs out of git's notebooks
	@$(BIN)/python -I flenlib/flow/clean.py setup

$(READY): requirements.lock constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## turn both wheels on the mini studio: v1, a better editor, v2 with it; report both
	$(BIN)/python -m flenlib.flow iterate params/mini/v1.yaml
	$(BIN)/python -m flenlib.flow report params/mini/v1.yaml
	$(BIN)/python -m flenlib.flow iterate params/mini/v2.yaml
	$(BIN)/python -m flenlib.flow report params/mini/v2.yaml

test: lint ## lint, then run all tests but the slow ones
	$(BIN)/python -m pytest -m "not slow"

test-slow: lint ## run the slow tests
	$(BIN)/python -m pytest -m slow

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

lab: setup ## open the notebooks of PARAMS in JupyterLab
	$(BIN)/python -m flenlib.flow lab $(PARAMS) -- $(ARGS)

plan: setup ## say the hours, memory and money of PARAMS before it starts; GPU="L40S 48 GB" asks for another GPU
	@$(BIN)/python -m flenlib.predict $(PARAMS) $(if $(GPU),--gpu "$(GPU)")

iterate: setup ## run all steps of PARAMS in order, skipping what is done
	$(BIN)/python -m flenlib.flow iterate $(PARAMS)

step: setup ## run one step: make step N=12 PARAMS=...
	@test -n "$(N)" || { echo "say which step: make step N=12"; exit 2; }
	$(BIN)/python -m flenlib.flow step $(N) $(PARAMS)

report: setup ## write the HTML report of PARAMS again
	$(BIN)/python -m flenlib.flow report $(PARAMS)

turns: setup ## run N turns of wheel 1 under three policies: make turns N=4
	$(BIN)/python experiments/turns.py $(or $(N),4) $(if $(filter file,$(origin PARAMS)),params/mini/turns.yaml,$(PARAMS))

studio: setup ## train the mini studio's models from the start (hours; resumes)
	$(BIN)/python -m flenlib.mini.build

TOOLS := .venv/tools

audit: ## ask PyPI's list of advisories about every pin (needs the network; fails where it has no answer)
	@test -x $(TOOLS)/bin/pip-audit || { $(PYTHON) -m venv $(TOOLS) && $(TOOLS)/bin/pip install -q pip-audit; }
	@failed=0; for file in requirements.lock constraints.txt; do \
	  $(TOOLS)/bin/pip-audit --strict --disable-pip --no-deps -r $$file || \
	  { echo "$$file: NOT AUDITED, or something was found: the lines above say which"; failed=1; }; done; exit $$failed

lock: ## write the hashes of requirements.lock again, after a pin in it changed
	@test -x $(TOOLS)/bin/uv || { $(PYTHON) -m venv $(TOOLS) && $(TOOLS)/bin/pip install -q uv; }
	@grep '^#' requirements.lock > $(TOOLS)/lock
	@grep -v '^ *--hash' requirements.lock | sed 's/ \\$$//' > $(TOOLS)/pins.txt
	@$(TOOLS)/bin/uv pip compile -q --no-deps --generate-hashes --no-header --no-annotate --python $(PYTHON) $(TOOLS)/pins.txt >> $(TOOLS)/lock
	@mv $(TOOLS)/lock requirements.lock

clean: ## remove .venv and caches; data/ and outputs/ stay
	rm -rf .venv .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
