# Everything a newcomer needs. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := $(shell command -v uv 2>/dev/null)
OLDEST := .venv-oldest
PYTHON_OLDEST ?= 3.10
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS)
QUICK = -m "not slow and not browser"
# Images for containers set it. Each of two dozen processes would then compile PyTorch's sources anew, for 15 s.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run test bench quick test-oldest coverage lab store clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(READY) ## install into .venv (done by the others when it is needed)

# The stamp is newer than pyproject.toml: nothing to do. It is touched last, so a broken install is repeated.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 10) else "seglab needs Python 3.10 or newer, and $(PYTHON) is %d.%d. Install one, or name it: make PYTHON=python3.12 …" % v[:2])'
	@echo "==> setting up $(VENV) (once; some minutes and 7 GB, most of it PyTorch)"
ifdef UV
	@test -x $(BIN)/python || uv venv --quiet --seed --python $(PYTHON) $(VENV)
	@uv pip install --python $(BIN)/python --editable '.[dev]'
else
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --editable '.[dev]'
endif
	@touch $@
	@echo "==> $(VENV) is ready"

run: $(READY) ## execute every lesson on the built-in samples, pages in build/html
	@echo "==> running the lessons"
	@rm -rf build/html
	@SEGLAB_OFFLINE=1 $(BIN)/seglab run notebooks --html build/html

test: $(READY) ## linter, types, unit tests, and every lesson compared with its stored outputs
	@echo "==> linter"
	@$(BIN)/ruff check .
	@echo "==> types, tests and lessons"
	@$(PYTEST) $(ARGS)

bench: $(READY) ## seglab beside its peers, half an hour on two quiet cores: build/bench/report.md
	@$(BIN)/python -c 'import lightning' 2>/dev/null || $(if $(UV),uv pip install --python $(BIN)/python,$(BIN)/python -m pip install) --editable '.[bench]'
	@$(BIN)/python -m benchmarks $(ARGS)

quick: $(READY) ## linter, and the quick tests: all of them, or those of ARGS=tests/models
	@$(BIN)/ruff check .
	@$(PYTEST) $(QUICK) $(or $(ARGS),tests seglab)

test-oldest: $(OLDEST)/.ready ## the quick tests with the oldest versions that pyproject.toml allows; needs uv
	@$(OLDEST)/bin/python -m pytest --numprocesses $(WORKERS) $(QUICK) $(or $(ARGS),tests seglab)

$(OLDEST)/.ready: pyproject.toml
	@command -v uv >/dev/null || { echo "make test-oldest needs uv: $(PYTHON) -m pip install uv"; exit 1; }
	@uv venv --quiet --clear --python $(PYTHON_OLDEST) $(OLDEST)  # anew: what is there might be newer than allowed
	@uv pip install --python $(OLDEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	@touch $@

coverage: $(READY) ## make test, with the lines and branches of seglab/ that it reaches; pages in build/coverage
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --numprocesses $(WORKERS) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage html --quiet
	@$(BIN)/coverage report

lab: $(READY) ## open JupyterLab on your copies of the lessons, in lessons/; the printed address carries its token
	@$(BIN)/seglab start lessons
	@$(BIN)/jupyter lab --notebook-dir=lessons $$([ "$$(id -u)" = 0 ] && echo --allow-root)

store: $(READY) ## execute every lesson and store its outputs in place
	@SEGLAB_DATA= SEGLAB_OFFLINE=1 $(BIN)/seglab run notebooks --in-place

clean: ## remove build/, caches and samples; keeps .venv and runs/
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .hypothesis data/cache data/samples
