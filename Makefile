# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
CLASSICAL := -a const -a mcpc -a lin -a ortb -a resolve -a dual -a pid -a online-lp -a rlb

.PHONY: demo install test test-slow lint bench dashboard clean

demo: $(VENV)/.installed
	$(BIN)/arena run -t bidding/standard-v1 $(CLASSICAL)
	@echo
	@echo "Look at it in the browser:  make dashboard"
	@echo "Your own agent:             $(BIN)/arena run -t bidding/standard-v1 -a path/to/file.py:Class"

install: $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3.11 with venv is needed: apt-get install python3.11-venv"; exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.installed

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 3 --dist worksteal

test-slow: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 3 --dist worksteal -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/arena bench bidding
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/faces.py
	$(BIN)/python -m benchmarks.agents
	$(BIN)/python -m benchmarks.engines

dashboard: $(VENV)/.installed
	$(BIN)/arena dashboard --with-worker

clean:
	rm -rf $(VENV) build *.egg-info .arena
