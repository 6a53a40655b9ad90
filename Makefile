# Two commands matter: `make quickstart` and `make test`. Each installs into .venv what it uses and is missing there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.installed-core
STAMP := $(VENV)/.installed
LOWEST := .venv-lowest
OUT ?= runs/quickstart
ARGS ?=

# Waiting threads of PyTorch sleep; spinning would slow down other processes of the machine.
OMP_WAIT_POLICY ?= PASSIVE
export OMP_WAIT_POLICY

# pip shows its downloads and their progress, without a line for every requirement already satisfied.
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.PHONY: setup quickstart test test-slow test-lowest dist-check debian deploy-demo door-demo lint types bench docs clean

setup: $(STAMP)

# What fedfr itself needs, and the faces of the quickstart.
$(CORE): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing fedfr, PyTorch and sample faces into $(VENV) (about 1 GB on disk with the CPU build of PyTorch)"
	$(INSTALL) --editable '.[samples]'
	@touch $(CORE)

# The rest: every extra and the tools of the tests.
$(STAMP): $(CORE)
	@echo "Installing the optional parts and the tools of the tests into $(VENV)"
	$(INSTALL) --editable '.[samples,hf,track,onnx,onnx-export,door,flower,privacy,dev]'
	@touch $(STAMP)

quickstart: $(CORE)
	@$(BIN)/fedfr quickstart --out "$(OUT)" $(ARGS)

# One process per core with one thread each: two threads in each would wait for each other.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto --dist loadfile $(ARGS)

# Most of these tests wait for processes, so two at a time take little more than half as long.
test-slow: $(STAMP) debian
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow --numprocesses auto --maxprocesses 2 --dist loadfile $(ARGS)

# The wheel and the sdist as a new user gets them: built, checked, installed outside the repository and used there.
dist-check: $(STAMP)
	.ci/dist-check $(BIN)/python

# The lowest releases that pyproject.toml declares, in a virtual environment of their own. PyTorch is the exception: its
# lowest release is not tested, only the pinned one, which constraints-lowest.txt names as well. Old releases among new
# ones give warnings of deprecation, which are no errors here, and one of them rounds the smallest floats to zero in the
# whole process: one test cannot draw its numbers.
LOWEST_TESTS := tests/config tests/losses tests/results tests/reporting tests/evaluation tests/models/test_onnx_model.py \
  tests/faces/readers/huggingface tests/faces/readers/test_orl.py tests/experiments/test_experiment.py
test-lowest: $(LOWEST)/.installed
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -q -W ignore::DeprecationWarning $(LOWEST_TESTS) \
	  --deselect tests/evaluation/test_scores.py::test_equals_sorting $(ARGS)

$(LOWEST)/.installed: pyproject.toml constraints-lowest.txt
	@test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --disable-pip-version-check --constraint constraints-lowest.txt \
	  --editable '.[samples,hf,track,onnx]' pytest hypothesis onnx
	@touch $@

# The report is tested in a browser with its driver, and nginx is the coordinator's proxy: Debian's, installed
# where they are missing.
debian:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null && PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || { \
	  root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$root apt-get update --quiet --quiet && \
	  $$root env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends \
	    chromium chromium-driver nginx-light >/dev/null; }

# A coordinator and three sites with TLS, keys and the proxy on this machine; one of each is killed on the way.
deploy-demo: $(STAMP) debian
	rm -rf runs/deploy-demo
	$(BIN)/python -m fedfr.deployment.demo runs/deploy-demo $(ARGS)

# The same federation on to the doors of its sites: strangers are rejected, and another round changes the models.
door-demo: $(STAMP) debian
	rm -rf runs/door-demo
	$(BIN)/python -m fedfr.deployment.door_demo runs/door-demo $(ARGS)

bench: $(STAMP)
	$(BIN)/python benchmarks/all.py $(ARGS)

# The documentation site in site/; warnings are errors, internal links and anchors are checked.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs site
	$(BIN)/python docs/check_site.py site

$(VENV)/.docs: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[samples,docs]'
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(LOWEST) build dist site jupyter_execute .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
