# make demo — the main job on the built-in scene
# make test — every check
# make docs — the site (needs Quarto)
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
WORKERS ?= 2
UV := $(shell command -v uv 2>/dev/null)
export OMP_NUM_THREADS ?= $(shell nproc 2>/dev/null || echo 2)
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test docs outputs notebooks clean-checks lint pytest gpu

ifdef UV
new_venv = $(UV) venv -q --allow-existing $(VENV)
install = $(UV) pip install -q --python $(BIN)/python
else
new_venv = $(PYTHON) -m venv $(VENV)
install = $(BIN)/python -m pip install -q
endif

$(VENV)/.installed: settings.ini setup.py pyproject.toml
	$(new_venv)
	$(install) -e .
	touch $@

$(VENV)/.installed-dev: settings.ini setup.py pyproject.toml
	$(new_venv)
	$(install) -e '.[dev]'
	touch $@ $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/diffclip demo --out demo

test: $(VENV)/.installed-dev lint clean-checks notebooks pytest

# notebooks and scripts are formatted; diffclip/ is exported from them
lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# modules, README.md, links, the sidebar and the map of the rooms are what the notebooks say
clean-checks: $(VENV)/.installed-dev
	$(BIN)/python tools/check_repository.py

# every notebook runs, top to bottom, two at a time with one thread each: models this
# small keep no second thread busy, but a second process
notebooks: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 PATH="$(abspath $(BIN)):$$PATH" $(BIN)/nbdev_test --n_workers $(WORKERS) --timing

pytest: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

# before a commit: formats and exports the notebooks, executes those whose code has
# changed, cleans them, and writes what is made from them
outputs: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/nbdev_export
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python tools/notebooks.py
	$(BIN)/python tools/check_repository.py --write

gpu: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/gpu_check.py

# nbdev without Quarto would try to install it as root: say what is missing instead
docs: $(VENV)/.installed-dev
	@command -v quarto >/dev/null || { echo "make docs needs Quarto 1.7 or newer: https://quarto.org/docs/get-started/"; exit 1; }
	rm -rf _proc
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/nbdev_proc_nbs
	cd _proc && quarto render --no-cache
	rm -rf _docs && mv _proc/_docs _docs
