# Every target sets itself up: a clone, make and Python >= 3.11 are enough.
PYTHON ?= python3
VENV ?= .venv
PY = $(VENV)/bin/python
WORKDIR ?= runs/compare
JOBS ?= 2

.PHONY: setup compare test test-all test-newest lint format lock docs

setup: $(VENV)/installed

# pip checks each file against its hash; the stamp is written last, so that an
# interrupted install is done again.
$(VENV)/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("bn_jax needs Python >= 3.11, but $(PYTHON) is %d.%d: make PYTHON=python3.12" % sys.version_info[:2])'
	@echo "Installing into $(VENV) (about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

compare: setup
	@$(PY) -m experiments.compare --config=configs/mnist1d_mlp.py --workdir=$(WORKDIR)

test: setup lint
	@$(PY) -m pytest -n $(JOBS) --dist worksteal -m "not slow"

test-all: setup lint
	@$(PY) -m pytest -n $(JOBS) --dist worksteal

# What users install today: the newest JAX and Flax that the lock knows, which
# need Python 3.12 or 3.13: make test-newest NEWEST_PYTHON=PATH
test-newest:
	@$(MAKE) --no-print-directory test VENV=.venv-newest PYTHON=$(or $(NEWEST_PYTHON),python3.13)

lint: setup
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

format: setup
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

# The site, into a folder that git ignores.
docs: setup
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet -d site
	@echo "site/index.html; or, so that its search works: $(PY) -m http.server -d site"

# Hashes and markers for Python 3.11 to 3.13, and no address.
lock:
	uv pip compile --universal --python-version 3.11 pyproject.toml --extra dev --generate-hashes -o requirements.lock
