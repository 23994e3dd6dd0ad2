"""Weights that come with the package, trained by the project from text that it generates."""

from __future__ import annotations

import os
from pathlib import Path

from hnlm_ray.errors import EngineError

__all__ = ["resolve"]

_FOLDER = Path(__file__).parent
_SHIPPED = {("generate", "demo"): "demo_llm", ("embed", "demo"): "demo_encoder"}


def resolve(model: str, task: str = "generate") -> str:
    """The folder of a shipped model, or the name as it is, with ``~`` replaced by the user's home.

    Args:
        model: ``demo``, or a Hugging Face name or folder.
        task: ``generate`` or ``embed``.

    Raises:
        EngineError: no model is named.
    """
    if not model:
        raise EngineError(f"no model is named to {task}", "give a Hugging Face name, a folder, or demo")
    shipped = _SHIPPED.get((task, model))
    return str(_FOLDER / shipped) if shipped else os.path.expanduser(model)
