"""The body of an encoder: a Hugging Face model without its task head, and its low-rank adapter."""

from __future__ import annotations

import torch
from torch import nn

from hnlm_ray import seeds
from hnlm_ray.config.tuning import LoraOptions, Pooling
from hnlm_ray.config.weights import refuse_pickles
from hnlm_ray.demo import assets
from hnlm_ray.errors import EngineError

__all__ = ["Words", "load_body", "pooled", "with_adapter"]


class Words(nn.Module):
    """The word embeddings of a body that runs in another process."""

    def __init__(self, words: nn.Module) -> None:
        super().__init__()
        self.words = words

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of token ids."""
        return self.words


def load_body(model: str) -> nn.Module:
    """The body from a Hugging Face name or folder, without its task head, float32, with frozen weights.

    Raises:
        EngineError: it cannot be loaded, or has no safetensors.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = assets.resolve(model)
    refuse_pickles(folder)
    try:
        body: nn.Module = AutoModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        what = str(error).strip().splitlines()[0]
        raise EngineError(f"the model {folder} cannot be loaded ({what})", "give a complete model folder") from error
    return body.requires_grad_(False)


def with_adapter(body: nn.Module, options: LoraOptions, seed: int) -> nn.Module:
    """The body with a new LoRA adapter initialised from ``seed``; at rank 0, the body itself.

    Raises:
        EngineError: no layer of the body is among ``options.targets``.
    """
    from peft import LoraConfig, get_peft_model

    if options.rank == 0:
        return body
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules="all-linear" if options.targets is None else list(options.targets),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seeds.derive(seed, "init", "lora") % 2**31)
        try:
            adapted: nn.Module = get_peft_model(body, config)
        except ValueError as error:
            raise EngineError(f"tune.lora.targets: {error}", "name layers of the body, or none") from error
    return adapted


def pooled(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """The body's output (B, L, hidden) pooled to (B, hidden) float32, as vLLM's pooling of the same name does.

    Args:
        hidden: output of the last layer.
        mask: (B, L) bool, False at padding, which stands on the right.
        pooling: see :class:`hnlm_ray.config.tuning.TuneConfig`.
    """
    hidden = hidden.float()
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]
    weights = mask.to(torch.float32)[:, :, None]
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)
