# make demo     set up, fetch a real BERT, tune it on the built-in task, look at what it learned
# make test     set up, run the tests (no network beyond package installation, no PyTorch)
# make parity   compare with transformers and PyTorch, in an environment of its own; DATA=folder with the GLUE folders
# make lint     ruff: lint and format
# make notebooks   run the notebooks from top to bottom

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BACKBONE := models/minilm-l6.h5
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test parity lint notebooks clean

# One environment a purpose; a stamp file says that it is complete.
$(VENV)/.installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "minibert needs Python 3.10 to 3.13, and $(PYTHON) is $$($(PYTHON) --version); try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[convert,test,lint]'
	@touch $@

$(BACKBONE): | $(VENV)/.installed
	$(BIN)/python -m weights_convert fetch minilm-l6 --out $(BACKBONE)

demo: $(BACKBONE)
	$(BIN)/minibert train --backbone $(BACKBONE) --task opinions --method head --out runs/demo-head --force
	$(BIN)/minibert train --backbone $(BACKBONE) --task opinions --method adapter --out runs/demo-adapter --force
	$(BIN)/minibert eval --backbone $(BACKBONE) --task opinions --bank runs/demo-head --split test
	$(BIN)/minibert eval --backbone $(BACKBONE) --task opinions --bank runs/demo-adapter --split test
	$(BIN)/minibert predict --backbone $(BACKBONE) --bank runs/demo-adapter \
		"The soup was cold and so was the waiter." "The best dumplings I have eaten in years."

test: $(VENV)/.installed
	$(BIN)/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/.notebooks: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[notebooks]'
	@touch $@

notebooks: $(BACKBONE) $(VENV)/.notebooks
	$(BIN)/python tests/notebooks.py

.venv-parity/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-parity
	.venv-parity/bin/python -m pip install --quiet torch==2.13.0
	.venv-parity/bin/python -m pip install --quiet --editable '.[parity,convert,test]'
	@touch $@

parity: $(BACKBONE) .venv-parity/.installed
	.venv-parity/bin/python -m pytest tests/parity --override-ini addopts=-s --backbone $(BACKBONE) $(if $(DATA),--data $(DATA))

clean:
	rm -rf $(VENV) .venv-parity build *.egg-info .pytest_cache .ruff_cache runs
