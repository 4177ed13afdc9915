# Every target makes its own environment in .venv. `make demo` and `make test` are all a newcomer needs.
PYTHON ?= python3
BIN := .venv/bin
LOWEST := .venv-lowest/bin

.PHONY: setup demo lint type test test-slow test-lowest bench bench-full reliability clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	rm -rf runs/demo
	$(BIN)/elbo train --config configs/digits.yaml --out runs/demo
	$(BIN)/elbo evaluate runs/demo
	$(BIN)/elbo gap runs/demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: setup
	$(BIN)/mypy

test: lint type
	$(BIN)/pytest -n 2

test-slow: setup
	$(BIN)/pytest -n 2 -m slow

# Speed as ratios, a JSON line each. ROOT=FOLDER (with MNIST/raw in it): real MNIST instead of synthetic pictures.
BENCH = $(BIN)/python -m benchmarks $(if $(ROOT),--root $(ROOT))

bench: setup
	$(BENCH)

bench-full: setup .venv-peers/installed
	$(BENCH) --full

# The peers live in an environment of their own: what they need is none of elbo's business.
.venv-peers/installed: benchmarks/peers-requirements.txt constraints.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -r benchmarks/peers-requirements.txt
	touch $@

# What is done to elbo on purpose, with counts: docs/reliability.md has the figures.
reliability: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.reliability

# The least versions that pyproject.toml promises, but for torch.
test-lowest: .venv-lowest/installed
	$(LOWEST)/python -m pytest -n 2 -W default

.venv-lowest/installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	$(LOWEST)/pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e '.[all]' pytest pytest-xdist hypothesis scipy arviz-stats
	touch $@

clean:
	rm -rf .venv .venv-lowest .venv-peers build dist .pytest_cache .mypy_cache .ruff_cache
