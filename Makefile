# Each target works from nothing: it makes .venv first. PYTHON=python3.x picks the interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: quickstart test test-long lint docs bench matrix torture fuzz torch

$(READY): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# Trains on the embedded data set, and ends by saying where the run and its picture are.
quickstart: $(READY)
	$(BIN)/python train_cifar.py --config configs/quickstart.yaml

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not long'

# The package as a wheel and an archive, the site, the notebook, runs that are killed or stopped time and again, grids,
# workers that die, large networks, and most of what only repeats a test with other settings: some ten minutes.
test-long: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadfile -m long

# All pages and the reference as one site: open build/docs/index.html. A warning, such as of a link to nothing, ends it.
docs: $(READY)
	$(BIN)/python -m sphinx -W --keep-going -q -c docs -d build/doctrees . build/docs

# The measurements behind the figures of the README. One that misses its goal says so, and the next one runs.
bench: $(READY)
	-$(BIN)/python benchmarks/fusion_step.py
	-$(BIN)/python benchmarks/memory.py
	-$(BIN)/python benchmarks/threads.py
	-$(BIN)/python benchmarks/peers.py
	-$(BIN)/python benchmarks/loader.py
	-$(BIN)/python benchmarks/photos.py
	-$(BIN)/python benchmarks/augment.py
	-$(BIN)/python benchmarks/scaling.py measure
	-$(BIN)/python benchmarks/deployment.py
	-$(BIN)/python benchmarks/export.py
	-$(BIN)/python benchmarks/evaluation.py
	-$(BIN)/python benchmarks/endurance.py

# Ends runs in some hundred ways, resumes them, and compares: some minutes. EVERY=7 tries every seventh point.
EVERY ?= 1
torture: $(READY)
	$(BIN)/python tests/torture.py --every $(EVERY)

# PyTorch in an environment of its own, .torch, for the tests of exports for it, which are skipped without it. TORCH names
# what pip installs, such as a build for CPUs only, which is a tenth of the size.
TORCH ?= torch
torch:
	$(PYTHON) -m venv .torch
	.torch/bin/python -m pip install --quiet '$(TORCH)' numpy safetensors PyYAML Pillow scipy tqdm

# The fast tests on each Python from 3.8 to 3.13 that is installed here.
matrix:
	$(PYTHON) tests/matrix.py

# Damaged and hostile files of nine kinds, each read as a command would read it: how they ended, as a table.
# SEED=7 makes others, EACH=100 fewer of each kind.
SEED ?= 0
EACH ?= 2500
fuzz: $(READY)
	$(BIN)/python tests/fuzz.py --seed $(SEED) --each $(EACH)
