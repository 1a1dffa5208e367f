# `make repro` and `make test` need git and Python 3.11, 3.12 or 3.13, nothing else: the newest that is there, or PYTHON=….
PYTHON ?= $(shell for v in 3.13 3.12 3.11; do python$$v -c "" 2> /dev/null && echo python$$v && exit; done; echo python3)
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Whichever of two processes is done first takes over tests of the other.
PYTEST := pytest --numprocesses=2 --dist=worksteal

# The environment alone.
setup: $(VENV)/installed

.PHONY: setup repro test test-all smoke lint bench torture studies requirements

repro: $(VENV)/installed
	dvc repro

test: $(VENV)/installed
	$(PYTEST) -m "not slow and not browser"

# What CI runs: every test, with more examples each.
test-all: $(VENV)/installed
	$(PYTEST) --hypothesis-profile=all

# A small project from its data to its report, and that nothing runs twice: whether this Python and this machine will do.
smoke: $(VENV)/installed
	pytest tests/test_smoke.py

lint: $(VENV)/installed
	ruff check .
	ruff format --check .
	mypy stages tests

bench: $(VENV)/installed
	python -m tests.benchmarks

# Kills the real pipeline at random moments and compares what it then leaves with an undisturbed run.
ROUNDS ?= 20
torture: $(VENV)/installed
	python -m tests.torture $(ROUNDS)

$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and f"{sys.executable} is Python {sys.version.split()[0]}, Traincore needs 3.11, 3.12 or 3.13: make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement requirements.txt
	touch $@

# Experiments that answer a question together; those that are missing are run, and the tables written anew.
studies: $(VENV)/installed
	python -m stages.studies

# Pins all that pyproject.toml asks for, and what that asks for in turn: once for the three versions of Python.
requirements: $(VENV)/installed
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --no-header \
		--output-file requirements.txt pyproject.toml
