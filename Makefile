# make demo   phantom data, teacher, baseline, distilled student, table: in an environment of its own
# make test   the test suite, in the same environment

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BUNDLE := bundles/kd
TRAIN := $(BUNDLE)/configs/train.json
DATA := $(BUNDLE)/dataset
RUNS := $(BUNDLE)/runs
RUN := $(BIN)/python -W ignore -m monai.bundle run
LOGGING := --logging_file $(BUNDLE)/configs/logging.conf

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
	rm -rf $(VENV) $(DATA) $(RUNS)
