# Everything happens in .venv; every target may be given again and again.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= demo
DEMO ?=
# what is installed beside isoflop itself: pyproject.toml names them
EXTRAS ?= dev
comma := ,
READY := .venv/ready-$(subst $(comma),-,$(EXTRAS))
export OMP_NUM_THREADS ?= 1

.PHONY: help setup demo test nightly torture lint format release clean

help:            ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup: $(READY)  ## make .venv and install everything

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "isoflop needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Give one with make PYTHON=python3.12"; exit 2; }
	@echo "making .venv with $(PYTHON): a few minutes and 2 GB, once"
	@$(PYTHON) -m venv .venv || { echo "no venv module: on Debian or Ubuntu, apt-get install python3-venv"; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

demo: setup      ## run the demo into OUT=demo
	$(BIN)/isoflop demo --out $(OUT) $(DEMO)

test: setup      ## run every test but the nightly ones, one process more than there are cores
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

nightly: setup   ## rates by Monte Carlo, known exponents, full products, every golden: piece by piece, resumable
	$(BIN)/python -m tests.nightly --write

# as many as docs/safety.md speaks of, as far as HOURS go; the same command goes on where the last one stopped
TORTURE ?= torture
HOURS ?= 1
BLOWS ?= 1000
FOLDERS ?= 2000
TABLES ?= 5000
torture: setup   ## blows to sweeps, damage to folders, hostile tables: HOURS=1 BLOWS=1000 FOLDERS=2000 TABLES=5000
	$(BIN)/python tests/harness/safety.py --out $(TORTURE) --hours $(HOURS) --blows $(BLOWS) --folders $(FOLDERS) --tables $(TABLES)

lint: setup      ## ruff and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup    ## let ruff rewrite the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# dist/ gets the files only if both forms install, fit and train; RELEASE=--offline downloads nothing
RELEASE ?=
release: setup   ## build wheel and sdist into dist/, install each in a clean environment, fit and train there
	$(BIN)/python tests/release.py $(RELEASE)

clean:           ## remove the environment and caches, nothing else
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache
