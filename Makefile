# Two commands matter: `make quickstart` and `make test`. Both set up what is missing in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= runs/quickstart
ARGS ?=

# Threads of PyTorch that wait for each other sleep, whatever else the machine is at; by spinning they would lose more.
OMP_WAIT_POLICY ?= PASSIVE
export OMP_WAIT_POLICY

.PHONY: setup quickstart test test-slow debian deploy-demo lint types bench docs clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[samples,hf,track,onnx,flower,dev]'
	@touch $(STAMP)

quickstart: $(STAMP)
	@if [ -e "$(OUT)/config.yaml" ]; then $(BIN)/fedfr resume "$(OUT)"; \
	else $(BIN)/fedfr quickstart --out "$(OUT)" $(ARGS); fi

# One process per core with one thread each: two threads in each would wait for each other.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto --dist loadfile $(ARGS)

test-slow: $(STAMP) debian
	$(BIN)/python -m pytest -q -m slow $(ARGS)

# The report is looked at in a browser with its driver, and nginx stands before the coordinator: Debian's, installed
# where they are missing.
debian:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null && command -v nginx >/dev/null || { \
	  root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$root apt-get update --quiet --quiet && \
	  $$root env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends \
	    chromium chromium-driver nginx-light >/dev/null; }

# A coordinator and three sites with TLS, keys and the proxy on this machine; one of each is killed on the way.
deploy-demo: $(STAMP) debian
	rm -rf runs/deploy-demo
	$(BIN)/python -m fedfr.deployment.demo runs/deploy-demo $(ARGS)

bench: $(STAMP)
	$(BIN)/python benchmarks/all.py $(ARGS)

# The documentation site in site/; warnings are errors, internal links and anchors are checked.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs site
	$(BIN)/python docs/check_site.py site

$(VENV)/.docs: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[samples,docs]'
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build site jupyter_execute .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
