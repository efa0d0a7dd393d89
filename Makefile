# The commands of mklab. GNU make 3.81 will do.
#
#   make lab     open JupyterLab on the first lab      PORT=8890 to choose a port; ARGS="..." goes to jupyter lab
#   make test    set up everything and run every test  ARGS="-k kexec" goes to pytest
#   make setup   make the environment in .venv         PYTHON=python3.12 to choose a Python
#   make lock    choose the newest versions again and write requirements.lock
#   make clean   remove .venv and the caches

PORT ?=
ARGS ?=
VENV = .venv/bin

# tools/setup.sh reads it; empty means: find one.
PYTHON ?=
export PYTHON

.PHONY: help lab test setup lock clean

help:
	@sed -n 's/^#  *make/make/p' Makefile

setup:
	@sh tools/setup.sh

lab: setup
	@exec $(VENV)/mklab lab $(if $(PORT),--port $(PORT)) $(ARGS)

test: setup
	@exec $(VENV)/python tools/test.py $(ARGS)

lock: setup
	@exec $(VENV)/python tools/lock.py

clean:
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
