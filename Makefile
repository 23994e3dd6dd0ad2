# `make demo` and `make test` do everything: both install what they need into .venv first.
PYTHON ?= python3.11
VENV := .venv
ACCELERATOR ?= cpu
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --no-deps
TORCH := $(shell cat requirements/torch.txt)
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: help setup dependencies demo test core check audit docs notebooks lock clean

help:
	@echo "make setup         install the package and its development tools into $(VENV), from the locks;"
	@echo "                   ACCELERATOR=gpu for the CUDA builds of vLLM and torch instead of those for the CPU"
	@echo "make dependencies  install only what the package needs to run, as an image does"
	@echo "make demo          run the whole pipeline on generated data and serve recommendations"
	@echo "make test          run every test, real engines included"
	@echo "make core          run the tests of the core alone, from a wheel, on each Python of 3.11, 3.12 and 3.13 that is here"
	@echo "make check         run the formatter, the linter, the type checker and the audit"
	@echo "make audit         look the locked packages up in a source of known vulnerabilities, if one can be reached"
	@echo "make docs          build the documentation as a site into site/, without network"
	@echo "make notebooks     run the notebooks of the documentation and write their outputs anew"
	@echo "make lock          resolve pyproject.toml into requirements/*.lock, keeping locked versions where possible;"
	@echo "                   UPGRADE=--upgrade takes the newest instead"
	@echo "make clean         remove runs, caches and $(VENV)"

setup: $(VENV)/.installed

$(VENV)/.installed: $(VENV)/.dependencies-$(ACCELERATOR) requirements/dev.lock pyproject.toml
	$(INSTALL) --require-hashes --requirement requirements/dev.lock
	$(INSTALL) --no-build-isolation --editable .
	touch $@

dependencies: $(VENV)/.dependencies-$(ACCELERATOR)

# A lock names every package with its hashes and is installed without dependency resolution: vLLM's CPU build declares
# torchvision, torchaudio and torchcodec, whose registry builds need CUDA and break transformers next to a CPU build of
# torch. Nothing here uses them. PyTorch's own index steps in where the configured one lacks torch's CPU build.
$(VENV)/.dependencies-$(ACCELERATOR): requirements/$(ACCELERATOR).lock requirements/torch.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed; name another: make PYTHON=python3.12" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test $(ACCELERATOR) = gpu || $(INSTALL) "$(TORCH)" || $(INSTALL) --index-url $(TORCH_CPU_INDEX) "$(TORCH)"
	$(INSTALL) --require-hashes --requirement $<
	touch $@

demo: setup
	$(BIN)/hnlm demo

test: setup
	$(BIN)/python -X faulthandler -m pytest

core: setup
	.ci/core

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(AUDIT)

AUDIT = PATH="$(BIN):$$PATH" $(BIN)/python requirements/audit.py

audit: setup
	$(AUDIT)

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

notebooks: setup
	$(BIN)/python docs/tools/notebooks.py

# What `make setup` and an image hold: every extra but wandb, which sends what it is told to somebody else's service.
PRODUCT := ann search serve tracking tune

RESOLVE = $(BIN)/uv pip compile pyproject.toml --quiet --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --no-annotate --no-header $(UPGRADE)
COMPILE = $(RESOLVE) --python-platform x86_64-manylinux_2_28 $(addprefix --extra ,$(PRODUCT))
CPU_TORCH = --no-emit-package torch $(addprefix --find-links ,$(or $(PIP_FIND_LINKS),$(TORCH_CPU_INDEX)/torch/))
COMPILE_CPU = $(COMPILE) --extra cpu --excludes requirements/excluded.txt $(CPU_TORCH)
# For every platform and every Python that the core runs on, in the versions of the other locks.
COMPILE_CORE = $(RESOLVE) --universal --extra test $(CPU_TORCH) \
  $(addprefix --constraint requirements/,torch.txt cpu.lock dev.lock)

# The development lock holds what the product lock does not, in versions that go with it.
lock:
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE_CPU) --output-file requirements/cpu.lock
	$(COMPILE) --extra gpu --output-file requirements/gpu.lock
	$(COMPILE_CPU) --extra dev --constraint requirements/cpu.lock --output-file requirements/dev.lock \
	  $$(sed -n 's/^\([a-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements/cpu.lock)
	$(COMPILE_CORE) --output-file requirements/core.lock

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist site report.html
