# make search   a first search, from nothing: environment, install, 60 trials on the built-in digits, leaderboard
# make test     every test                    make check   what CI asks of a change: format, lint, types, floors, tests
# make          the environment alone         make clean   removes the environment and caches; runs/ stays

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
CONFIG ?= configs/digits.yaml
JOBS   ?= 2

.PHONY: install search test check format clean
.DEFAULT_GOAL := install

install: $(VENV)/.installed

# Stamps: an install runs again only where what it depends on is newer, so the second `make search` starts at once.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("nas needs Python 3.11 or newer, and %s is %d.%d; try: make PYTHON=python3.12" % (sys.executable, v[0], v[1]))'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-for-tests: $(VENV)/.installed
	$(PIP) -e '.[test,lint]'
	@touch $@

search: install
	$(BIN)/nas search $(CONFIG)

test: $(VENV)/.installed-for-tests
	$(BIN)/python -m pytest -n $(JOBS)

check: $(VENV)/.installed-for-tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 0 tests/test_floors.py
	$(BIN)/python -m pytest -n $(JOBS)

format: $(VENV)/.installed-for-tests
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
