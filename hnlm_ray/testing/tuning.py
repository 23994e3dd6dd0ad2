"""A small data set to tune the demo language model on; its pairs follow a rule that can be learned."""

from __future__ import annotations

import numpy as np
import torch

from hnlm_ray.config.tuning import TuneConfig
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.tuning.encoder import Encoder
from hnlm_ray.tuning.forms import new_encoder
from hnlm_ray.tuning.inputs import SupervisedPairs, Teacher, TuningData
from hnlm_ray.tuning.loop import TuningLoop
from hnlm_ray.tuning.stepper import TorchStepper
from hnlm_ray.tuning.tokens import TokenRows

__all__ = ["DIM", "plain_loop", "small_data", "small_encoder"]

DIM = 16
_USERS, _ITEMS, _PAIRS, _WORDS = 50, 40, 600, 500


def small_data() -> TuningData:
    """600 pairs of 50 users and 40 items; the supervising item of item i is ``(7 i + 3) % 40``."""
    rng = np.random.default_rng(0)
    items = rng.normal(size=(_ITEMS, DIM)).astype(np.float32)
    users = rng.normal(size=(_USERS, DIM)).astype(np.float32)
    owners, chosen = np.sort(rng.integers(_USERS, size=_PAIRS)), rng.integers(_ITEMS, size=_PAIRS)
    negatives = (chosen * 7 + 3) % _ITEMS
    targets = unit_rows(items[negatives])
    pairs, valid = SupervisedPairs(owners, chosen, negatives, negatives, targets).split(0.2, 0)
    return TuningData(pairs, valid, Teacher(users, items), _tokens(rng, _USERS, 5, 20), _tokens(rng, _ITEMS, 3, 12))


def _tokens(rng: np.random.Generator, texts: int, shortest: int, longest: int) -> TokenRows:
    offsets = np.r_[0, np.cumsum(rng.integers(shortest, longest, size=texts))].astype(np.int64)
    return TokenRows(rng.integers(5, _WORDS, size=int(offsets[-1])).astype(np.int32), offsets)


def small_encoder(options: TuneConfig, seed: int = 0) -> Encoder:
    """An encoder of the demo language model for :func:`small_data`."""
    return new_encoder(small_data().teacher, options.model_copy(update={"model": "demo"}), seed)


def plain_loop(options: TuneConfig) -> TuningLoop:
    """A loop in plain PyTorch, without DeepSpeed, on the CPU."""
    device = torch.device("cpu")
    return TuningLoop(TorchStepper(small_encoder(options), options, device), small_data(), options, 0, device)
