"""Random tables that a worker can make for its own rows alone."""

from __future__ import annotations

import torch
from torch.nn import functional

from hnlm_ray.kernels.hashing import uniform_rows
from hnlm_ray.models.protocol import Draw, Layer, Perturb

__all__ = ["kept_coordinates", "noise"]

Purpose = tuple[str | int, ...]


def kept_coordinates(rows: torch.Tensor, dropout: float, seed: int, purpose: Purpose, first: int) -> torch.Tensor:
    """A dropout mask of the shape of ``rows`` whose kept coordinates are ``1 / (1 - dropout)``."""
    drawn = uniform_rows(seed, purpose, first, first + len(rows), rows.shape[1]).to(rows.device)
    return (drawn >= dropout).to(rows.dtype) / (1.0 - dropout)


def noise(length: float, seed: int, purpose: Purpose, draw: Draw, first_user: int) -> Perturb:
    """What is added after a hop: ``sign(e) * length * normalize(U(0, 1))`` for each row ``e`` (SimGCL, equation 7)."""

    def perturb(hop: int, layer: Layer) -> Layer:
        moved = []
        for kind, rows, first in (("users", layer[0], first_user), ("items", layer[1], 0)):
            drawn_for = (*purpose, hop, draw.epoch, draw.step, kind)
            drawn = uniform_rows(seed, drawn_for, first, first + len(rows), rows.shape[1])
            moved.append(rows + rows.sign() * functional.normalize(drawn.to(rows.device)) * length)
        return moved[0], moved[1]

    return perturb
