# Two commands: `make demo` and `make test`. Each makes its own virtual environment with pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo demo-quick test lint compare clean

demo: $(VENV)/.installed
	$(BIN)/evener demo

demo-quick: $(VENV)/.installed
	$(BIN)/evener demo --quick

test: $(VENV)/.dev
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Against other systems, at the same speeds: minutes, and an otherwise idle machine.
compare: $(VENV)/.dev
	$(BIN)/python -m pytest -m comparison -s

$(VENV)/.python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "evener needs Python 3.11 or newer; set PYTHON="'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) dist build
