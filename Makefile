# make demo: what Hosier is, in two minutes.  make test: all that must hold before a commit.  make prove: the long proofs.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# `sudo` only where it is needed and there
ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

PEERS := mmdebstrap debootstrap apt-utils dpkg bubblewrap runc schroot uidmap attr acl libcap2-bin busybox-static \
	python3-venv xz-utils zstd tar procps util-linux

.PHONY: demo test prove bench check unit system peers lint install clean

demo: install
	bash examples/demo.sh

# Non-editable: the installed package is what is shown and timed.
install: $(VENV)/installed
$(VENV)/installed: pyproject.toml $(shell find src -name '*.py' -o -name '*.json')
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { $(ROOT) apt-get update -qq; $(ROOT) apt-get install -y -qq python3-venv; $(PYTHON) -m venv $(VENV); }
	rm -rf build src/*.egg-info
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pip install -q --disable-pip-version-check '.$(EXTRA)'
	rm -rf build src/*.egg-info
	touch $@

test: EXTRA := [test]
test: peers test-install
	$(MAKE) check
	$(BIN)/python -m pytest tests/unit tests/system -m 'not prove'

.PHONY: test-install
test-install:
	$(MAKE) install
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pip install -q --disable-pip-version-check '.[test]'
	rm -rf build src/*.egg-info

check:
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports

prove: peers test-install
	$(BIN)/python -m pytest tests/unit tests/system -m prove

bench: peers install
	$(BIN)/python bench/build.py
	$(BIN)/python bench/run.py

# The tools that ours are held against; installed once.
peers: $(VENV)/peers
$(VENV)/peers: Makefile
	missing=$$(for p in $(PEERS); do dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		$(ROOT) apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $(ROOT) apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
	mkdir -p $(VENV) && touch $@

clean:
	rm -rf $(VENV) build
