# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out/demo

.PHONY: demo test bench accuracy soak lint types clean

demo: $(VENV)/.base
	$(BIN)/scaling-lab demo --out $(OUT)

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --maxprocesses 4

bench: $(VENV)/.dev
	$(BIN)/python bench/fit_speed.py

# How well `auto` predicts what public tables held out; writes docs/accuracy.md (about ten minutes, kept by split).
accuracy: $(VENV)/.dev
	$(BIN)/python bench/accuracy.py

# Thousands of random bad tables and damaged fits, where `test` asks hundreds; writes docs/soak.md (about ten minutes).
soak: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz.soak

lint: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev
	$(BIN)/mypy

clean:
	rm -rf $(VENV) out

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: scaling-lab needs Python 3.11 or newer; say which with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,proxy,mixture]'
	@touch $@ $(VENV)/.base
