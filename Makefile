# Every target makes its own .venv first; nothing else needs to be installed but Python 3.11 and make.
PYTHON  ?= python3
VENV    := .venv
RUN     := $(VENV)/bin
PROFILE ?= default
SEED    ?= 0
export MPLBACKEND := agg

.DEFAULT_GOAL := help
.PHONY: help reproduce test lint unit notebooks browser lab figures bench fuzz gpu clean

help: ## this list
	@awk -F':.*## ' '/^[a-z.$$()A-Z]+:.*## /{sub(/\$$\(VENV\)\/\.stamp/,".venv",$$1); printf "make %-10s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

.venv: $(VENV)/.stamp ## the environment, from requirements.lock, every file checked by its hash

$(VENV)/.stamp: requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; v=sys.version_info[:2]; sys.exit(None if v>=(3,11) else f'ssan needs Python 3.11 or newer, this is {sys.version}')"
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

reproduce: .venv ## fetch the data, run the study (PROFILE=smoke|default|full), print the table, draw the figures
	SSAN_PROFILE=$(PROFILE) $(RUN)/python -m ssan.study
	$(RUN)/python figures/make_all.py

test: lint unit notebooks ## ruff, the unit tests, and every notebook in the smoke profile

lint: .venv
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

unit: .venv ## the unit tests, with the network blocked; what data they need is fetched before
	-$(RUN)/python data_scripts/fetch.py movie glove trec minilm
	$(RUN)/python -m pytest -q -n 2 tests --ignore tests/browser --ignore tests/benchmarks --ignore tests/fuzz

notebooks: .venv
	SSAN_PROFILE=smoke $(RUN)/python -m pytest -q -n 2 --dist loadfile --nbval-lax --nbval-current-env \
	  --nbval-cell-timeout=300 --nbval-sanitize-with tests/notebooks/sanitize.cfg notebooks

browser: .venv ## the notebooks as a reader opens them: JupyterLab in Chromium (which must be installed)
	$(RUN)/python -m pytest -q tests/browser

lab: .venv ## JupyterLab, opened on the first notebook
	env -u MPLBACKEND $(RUN)/jupyter lab --notebook-dir=. notebooks/00_start_here.ipynb

figures: .venv ## draw every figure again from the committed rows
	$(RUN)/python figures/make_all.py

bench: .venv ## measure speed against what one would use instead; rows go to figures/results/bench.csv
	$(RUN)/python -m pytest -q tests/benchmarks

fuzz: .venv ## odd inputs to every function and reader, 150,000 of them (SEED=1 takes others), and long runs: 17 minutes
	SSAN_FUZZ_SEED=$(SEED) $(RUN)/python -m pytest -q --showlocals --durations=0 --durations-min=1 tests/fuzz

gpu: ## check and measure on a CUDA machine, with whatever python3 there has torch >= 2.9; rows go to figures/results/gpu.csv
	PYTHONPATH=lib:. $(PYTHON) -m tests.benchmarks.gpu

clean: ## remove what was made here: the environment, runs and caches (fetched data stays)
	rm -rf $(VENV) runs .pytest_cache .ruff_cache .hypothesis
