# make run    set up the environment and run the pipeline on the embedded images
# make test   set up the environment and run the tests

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.locked
DEV := .venv/.locked-dev
INSTALL = $(if $(PYTHON),$(PYTHON) -m tools.install,$(error Headstart needs Python 3.11, 3.12 or \
	3.13; none was found. Install one, or name it: make run PYTHON=/path/to/python3))
# Without the address of an index, so that everyone's own is used.
COMPILE = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	--no-annotate --strip-extras --quiet
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := 1

.PHONY: run test test-pipeline test-server test-all test-faults fuzz check env dev lock runtime contract docs plots screenshot benchmark claims clean help

run: $(STAMP)  ## run the pipeline, then show its results
	@$(BIN)/dvc repro
	@$(BIN)/headstart summary
	@echo
	@echo 'Next: `. .venv/bin/activate` puts headstart, dvc and python on the path of this shell. Then:'
	@echo '  headstart recipe my-photos    use your own images, one folder per class in data/raw'
	@echo '  headstart plan                show what the next `dvc repro` would run, and why'

# Bytecode is written even if PYTHONDONTWRITEBYTECODE is set: tests start hundreds of processes, and
# each would compile the library again. Three at a time on two cores: many wait for a process.
test test-pipeline test-server test-all: export PYTHONDONTWRITEBYTECODE :=

test: $(DEV)  ## run the default tests, about 10 minutes on 2 cores
	$(BIN)/python -m pytest -m "not slow and not server and not pipeline" -n 3 --dist loadfile

test-pipeline: $(DEV)  ## run the whole pipeline on digits and on photographs, end to end
	$(BIN)/python -m pytest -m "pipeline and not slow" -n 2 --dist loadfile

test-server: $(DEV)  ## test schedules on a real Prefect server with a real worker
	$(BIN)/python -m pytest -m "server and not slow"

test-all: $(DEV)  ## run all tests, the slow ones too
	$(BIN)/python -m pytest -n 2 --dist loadfile

fuzz: N ?= 10000
fuzz: $(DEV)  ## try N mutated inputs on decoders, archives, tables and parameters (N=100000)
	$(BIN)/python -m tests.fuzz $(N)

# HEADSTART_FAULTS=all strikes each point of the slow stages with all three actions, in hours.
test-faults: $(DEV)  ## kill, fill and damage real runs, more than an hour on 2 busy cores
	$(BIN)/python -m pytest -m faults tests/faults

check: $(DEV)  ## check style, types and import order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

env: $(STAMP)  ## make the locked environment in .venv, with what a run needs

dev: $(DEV)  ## add the tools for tests, and every extra (browser, Kaggle, TFDS, ONNX)

$(STAMP): requirements.lock
	@$(INSTALL)

$(DEV): requirements.lock requirements-dev.lock
	@$(INSTALL) --dev

lock: $(DEV)  ## resolve pyproject.toml again into both locks
	$(COMPILE) --all-extras -o requirements-dev.lock
	$(COMPILE) --extra serving --constraint requirements-dev.lock -o requirements.lock

runtime: $(DEV)  ## write runtime.txt from requirements.lock
	$(BIN)/python -m tools.generate runtime

contract: $(DEV)  ## write the stages' code dependencies into dvc.yaml
	$(BIN)/python -m tools.generate contract

docs: $(DEV)  ## write the reference pages and the badges in docs
	$(BIN)/python -m tools.generate docs

plots: $(DEV)  ## write the page that `dvc plots` fills, .dvc/plots.html
	$(BIN)/python -m tools.generate plots

screenshot: $(DEV)  ## draw docs/report.png, for the README, from the run in data
	$(BIN)/python -m tools.screenshot

benchmark: $(DEV)  ## compare with the tutorials' way; needs weights and ARCHIVE=images.zip
	$(BIN)/python -m benchmarks.pipeline --archive $(ARCHIVE)

claims: SHARED ?= ../shared
claims: $(DEV)  ## measure the tutorials' claims for docs/claims.md; needs images and weights
	$(BIN)/python -m tools.claims --shared "$(SHARED)" $(if $(ORIGIN),--origin "$(ORIGIN)")

clean:  ## remove the environment (data and caches stay)
	rm -rf .venv

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22
