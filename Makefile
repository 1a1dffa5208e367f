# `make repro` and `make test` need Python 3.11 and git, nothing else.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# The environment alone.
setup: $(VENV)/installed

.PHONY: setup repro test lint bench torture studies requirements

repro: $(VENV)/installed
	dvc repro

# A file runs as a whole in one of two processes.
test: $(VENV)/installed
	pytest --numprocesses=2 --dist=loadfile

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
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and f"{sys.executable} is Python {sys.version.split()[0]}, Traincore needs 3.11: make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement requirements.txt
	touch $@

# Experiments that answer a question together; those that are missing are run, and the tables written anew.
studies: $(VENV)/installed
	python -m stages.studies

# Pins everything that pyproject.toml asks for, and what that asks for in turn.
requirements: $(VENV)/installed
	pip-compile --quiet --upgrade --allow-unsafe --all-extras --strip-extras --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --no-header --output-file requirements.txt pyproject.toml
