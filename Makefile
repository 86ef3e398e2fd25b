# make demo     set up, fetch a real BERT, tune it on the built-in task, look at what it learned
# make test     set up, run the tests (no network beyond package installation, no PyTorch)
# make parity   compare with transformers and PyTorch, in an environment of its own; DATA=folder with the GLUE folders
# make lint     ruff, who imports whom, and no function too long
# make notebooks   run every lesson, solved and blank, and compare what it prints with what is stored
# make notebooks-fast, notebooks-write   the same with few training steps; write the notebooks from notebooks/src/
# make docs     build the site: lessons, derivations, tour of the code, reference (build/site/index.html)
#
# make.py does the work, and does it as well where there is no make: python make.py demo

PYTHON ?= python3

.PHONY: demo test parity lint notebooks notebooks-fast notebooks-write docs clean

demo test parity lint notebooks notebooks-fast notebooks-write docs clean:
	@$(PYTHON) make.py $@ $(if $(DATA),--data $(DATA))
