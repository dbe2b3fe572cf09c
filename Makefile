# make run    set up the environment and run the pipeline on the embedded images
# make test   set up the environment and run the tests

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.locked
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := 1

.PHONY: run test test-pipeline test-server test-all test-faults fuzz check env lock runtime contract docs plots benchmark claims clean help

run: $(STAMP)  ## run the pipeline, then show its results
	@$(BIN)/dvc repro
	@$(BIN)/headstart summary
	@echo
	@echo 'Next: `. .venv/bin/activate` puts headstart, dvc and python on the path of this shell. Then:'
	@echo '  headstart recipe my-photos    use your own images, one folder per class in data/raw'
	@echo '  headstart plan                show what the next `dvc repro` would run, and why'

# Three at a time on two cores: many tests wait for a server or a process.
test: $(STAMP)  ## run the default tests, about 10 minutes on 2 cores
	$(BIN)/python -m pytest -m "not slow and not server and not pipeline" -n 3 --dist loadfile

test-pipeline: $(STAMP)  ## run the whole pipeline on digits and on photographs, end to end
	$(BIN)/python -m pytest -m "pipeline and not slow" -n 2 --dist loadfile

test-server: $(STAMP)  ## test schedules on a real Prefect server with a real worker
	$(BIN)/python -m pytest -m "server and not slow"

test-all: $(STAMP)  ## run all tests, the slow ones too
	$(BIN)/python -m pytest -n 2 --dist loadfile

fuzz: N ?= 10000
fuzz: $(STAMP)  ## try N mutated inputs on decoders, archives, tables and parameters (N=100000)
	$(BIN)/python -m tests.fuzz $(N)

# HEADSTART_FAULTS=all strikes each point of the slow stages with all three actions, in hours.
test-faults: $(STAMP)  ## kill, fill and damage real runs, about 30 minutes on 2 cores
	$(BIN)/python -m pytest -m faults tests/faults

check: $(STAMP)  ## check style, types and import order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

env: $(STAMP)  ## make the locked environment in .venv

# --no-deps: the lock is complete, so nothing has to be resolved, and nothing else can slip in.
$(STAMP): requirements.lock
	@test -n "$(PYTHON)" || { echo "Headstart needs Python 3.11, 3.12 or 3.13; none was found. Name one: make run PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

lock: $(STAMP)  ## resolve pyproject.toml again into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--fork-strategy fewest --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate --strip-extras --quiet -o requirements.lock

runtime: $(STAMP)  ## write runtime.txt from requirements.lock
	$(BIN)/python -m tools.generate runtime

contract: $(STAMP)  ## write the stages' code dependencies into dvc.yaml
	$(BIN)/python -m tools.generate contract

docs: $(STAMP)  ## write the reference pages in docs/reference
	$(BIN)/python -m tools.generate docs

plots: $(STAMP)  ## write the page that `dvc plots` fills, .dvc/plots.html
	$(BIN)/python -m tools.generate plots

benchmark: $(STAMP)  ## compare with the tutorials' way; needs weights and ARCHIVE=images.zip
	$(BIN)/python -m benchmarks.pipeline --archive $(ARCHIVE)

claims: SHARED ?= ../shared
claims: $(STAMP)  ## measure the tutorials' claims for docs/claims.md; needs images and weights
	$(BIN)/python -m tools.claims --shared "$(SHARED)" $(if $(ORIGIN),--origin "$(ORIGIN)")

clean:  ## remove the environment (data and caches stay)
	rm -rf .venv

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22
