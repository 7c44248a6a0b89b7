# make demo: a picture of what MedGAN does. make test: the whole suite. Both set up their own virtual environment.

PYTHON ?= python3.11
VENV ?= .venv
OUT ?= medgan-demo

# Where pip finds torch besides its own index: the build without CUDA (0.2 GB) where no NVIDIA driver is found, else
# the one with CUDA (several GB). May be set to nothing, or to a mirror.
ifeq ($(shell command -v nvidia-smi 2>/dev/null),)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
endif

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check model features results functions games clean

demo: $(VENV)/demo.installed
	@$(BIN)/medgan demo --out $(OUT)

test: check
	@$(BIN)/python -m pytest

check: $(VENV)/test.installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

$(VENV)/torch.installed: constraints.txt
	@echo "Setting up $(VENV) (torch, MONAI, SimpleITK: a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --retries 1 $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@touch $@

$(VENV)/demo.installed: $(VENV)/torch.installed pyproject.toml
	@$(PIP) --editable '.[plots]'
	@touch $@

$(VENV)/test.installed: $(VENV)/torch.installed pyproject.toml
	@$(PIP) --editable '.[test]'
	@touch $@

# A shipped model, from the images to the card: hours. make model STUDY=denoise-ct
STUDY ?= mr-to-ct-limb
# Where real images are.
DATA ?= ../shared/data
model: $(VENV)/demo.installed
	@$(PIP) --editable '.[plots,baselines]'
	@Resources/Studies/$(STUDY).sh $(BIN)

# The shipped feature networks, from the images to the card: about ten minutes on one core.
features: $(VENV)/demo.installed
	@$(BIN)/python Resources/Studies/features.py

# What the shipped models' cards say, as one page.
results: $(VENV)/demo.installed
	@$(BIN)/python Resources/Studies/results.py docs/results.md

# A picture of what each shipped model does, of people whom it never saw.
functions: $(VENV)/demo.installed
	@$(BIN)/python Resources/Studies/functions.py $(DATA) docs/functions.png

# A run of every kind of game on real images, and the page docs/games.md (about an hour on two cores).
games: $(VENV)/demo.installed
	@$(BIN)/python Resources/Studies/games.py $(DATA)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
