"""What is loaded from a model's folder: settings and numbers, never code, so weights are safetensors."""

from __future__ import annotations

import typing
from pathlib import Path

from pydantic import AfterValidator

from hnlm_ray.errors import EngineError

__all__ = ["EngineKwargs", "refuse_pickles"]

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_PICKLE_FORMATS = ("auto", "pt", "npcache")
"""Values of vLLM's ``load_format`` that read a pickle where a folder has no safetensors."""


def refuse_pickles(folder: str | Path) -> None:
    """Refuse a folder whose weights are pickles only, whatever reads them.

    Args:
        folder: of a model or of an adapter; a Hugging Face name passes, since it is no folder.

    Raises:
        EngineError: no file of the folder is a safetensors file, and one is a pickle.
    """
    path = Path(folder)
    if not any(path.glob("*.safetensors")) and any(any(path.glob(pattern)) for pattern in _PICKLES):
        raise EngineError(f"{folder} has pickled weights only, which can run code", "convert them to safetensors")


def _without_code(options: dict[str, typing.Any]) -> dict[str, typing.Any]:
    if options.get("trust_remote_code"):
        raise ValueError("trust_remote_code would run code from the model's folder and is refused")
    if str(options.get("load_format", "")).lower() in _PICKLE_FORMATS:
        raise ValueError("load_format may read pickled weights, which can run code; leave it out to read safetensors")
    return options


EngineKwargs = typing.Annotated[dict[str, typing.Any], AfterValidator(_without_code)]
"""Arguments of a vLLM engine."""
