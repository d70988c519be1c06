# Everything a newcomer needs. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run test lab lint store clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | awk -F'|' '{printf "  make %-6s %s\n", $$1, $$2}'

setup: $(READY) ## install into .venv (done by the others when it is needed)

# The stamp is newer than pyproject.toml: nothing to do. It is touched last, so a broken install is repeated.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 10) else "seglab needs Python 3.10 or newer, and $(PYTHON) is %d.%d. Install one, or name it: make PYTHON=python3.12 …" % v[:2])'
	@echo "==> setting up $(VENV) (once; some minutes and 7 GB, most of it PyTorch)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --editable '.[dev]'
	@touch $@
	@echo "==> $(VENV) is ready"

run: $(READY) ## execute every lesson on the built-in samples, pages in build/html
	@echo "==> running the lessons"
	@SEGLAB_OFFLINE=1 $(BIN)/seglab run notebooks --html build/html

test: $(READY) ## linter, types, unit tests, and every lesson compared with its stored outputs
	@echo "==> linter"
	@$(BIN)/ruff check .
	@echo "==> types"
	@$(BIN)/mypy
	@echo "==> tests and lessons"
	@$(BIN)/python -m pytest

lab: $(READY) ## open JupyterLab on the lessons; the printed address carries its token
	@$(BIN)/jupyter lab --notebook-dir=notebooks $$([ "$$(id -u)" = 0 ] && echo --allow-root)

store: $(READY) ## execute every lesson and store its outputs in place
	@SEGLAB_DATA= SEGLAB_OFFLINE=1 $(BIN)/seglab run notebooks --in-place

clean: ## remove build/, caches and samples; keeps .venv and runs/
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .hypothesis data/cache data/samples
