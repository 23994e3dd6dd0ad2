"""SmolLM2-135M-Instruct, a real pretrained language model with its tokenizer and chat template, where it can be had."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

__all__ = ["small_model"]

MAKE = Path(__file__).resolve().parents[2] / "shared" / "models" / "smollm2.py"


def small_model() -> str:
    """The folder that ``HNLM_SMALL_MODEL`` names; without it, one that is made where the means for that are there."""
    named = os.environ.get("HNLM_SMALL_MODEL")
    folder = Path(named or Path(tempfile.gettempdir()) / "smollm2")
    if not (folder / "model.safetensors").is_file() and not named and MAKE.is_file():
        subprocess.run([sys.executable, str(MAKE), str(folder)], check=False, timeout=300)
    if not (folder / "model.safetensors").is_file():
        pytest.skip("no small model: HNLM_SMALL_MODEL names none, and none can be made here")
    return str(folder)
