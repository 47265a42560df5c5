# make demo   phantom data, teacher, baseline, distilled student, table, report: in an environment of its own
# make test   the test suite, in the same environment

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
.PHONY: install demo test lint clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: install
	$(BIN)/python scripts/demo.py

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) bundles/kd/phantoms bundles/kd/dataset bundles/kd/runs
