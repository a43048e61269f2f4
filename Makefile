PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DISTRIBUTIONS = . cli plugins/ssd-vgg plugins/ssd-mobilenet plugins/ssd-keras

.PHONY: demo test test-all lint docs packages clean

demo: $(VENV)/installed
	rm -rf demo-run
	$(BIN)/ssd demo --out demo-run

# What to run after each change: six minutes on two cores.
test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

# Everything, with whole trainings, killed and distributed runs, every backbone, and a browser.
test-all: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && $(MAKE) --silent packages DIST="$$out" && \
	    $(BIN)/twine check --strict "$$out"/*

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Sdists, and the wheels made from them.
packages: DIST ?= dist
packages: $(VENV)/installed
	for folder in $(DISTRIBUTIONS); do $(BIN)/python -m build --quiet --no-isolation --outdir $(DIST) $$folder || exit 1; done

clean:
	rm -rf $(VENV) dist build site demo-run

$(VENV)/installed: constraints.txt $(addsuffix /pyproject.toml,$(DISTRIBUTIONS))
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt pip
	$(BIN)/python -m pip install --quiet -c constraints.txt $(addprefix -e ,$(DISTRIBUTIONS)) --group dev
	touch $@
