"""The text encoder of a bundle: it turns a text into a vector in the space of the items' text vectors."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.config.weights import refuse_pickles
from hnlm_ray.errors import BundleError, require

__all__ = ["TextEncoder"]

_MOST_TOKENS = 256


class TextEncoder:
    """A Hugging Face model, loaded at the first text and pooled as its folder says, by default by the mean.

    The vectors equal those of the stage ``vectors``, which runs the same model in vLLM.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def encode(self, text: str) -> npt.NDArray[np.float32]:
        """The vector of a text, (t,) float32 of unit length; zeros for a text without tokens.

        Raises:
            BundleError: the model cannot be loaded.
            EngineError: its weights are pickles.
            PackageError: Transformers is not installed.
        """
        import torch

        tokenizer, model, pooling = self._loaded
        options = {"truncation": True, "max_length": _MOST_TOKENS, "split_special_tokens": True}  # "[SEP]" is a word
        tokens = tokenizer(text, return_tensors="pt", **options)
        if not tokens["input_ids"].numel():
            return np.zeros(model.config.hidden_size, dtype=np.float32)
        with torch.inference_mode():
            hidden = model(**{name: tokens[name] for name in ("input_ids", "attention_mask")}).last_hidden_state[0]
        pooled = {"mean": hidden.mean(dim=0), "cls": hidden[0], "last": hidden[-1]}[pooling].float()
        unit: npt.NDArray[np.float32] = torch.nn.functional.normalize(pooled, dim=0).numpy()
        return unit

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any, str]:
        require("the text encoder of a bundle", "llm")
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # a service has no terminal
        refuse_pickles(self._folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(self._folder), trust_remote_code=False)
            model = AutoModel.from_pretrained(str(self._folder), trust_remote_code=False, use_safetensors=True).eval()
            return tokenizer, model, _pooling(self._folder)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise BundleError(f"the text encoder {self._folder} cannot be loaded ({reason})", "export again") from error


def _pooling(folder: Path) -> str:
    """``mean``, ``cls`` or ``last``, as a sentence-transformers folder says; ``mean`` by default."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    modes = json.loads(path.read_text())
    names = {"pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last", "pooling_mode_mean_tokens": "mean"}
    return next((name for key, name in names.items() if modes.get(key)), "mean")
