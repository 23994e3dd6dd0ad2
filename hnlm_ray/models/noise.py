"""Random tables of which a worker can draw its own rows alone."""

from __future__ import annotations

import torch
from torch.nn import functional

from hnlm_ray.kernels.hashing import uniform_rows
from hnlm_ray.models.protocol import Draw, Layer, Perturb

__all__ = ["kept_coordinates", "noise"]

Purpose = tuple[str | int, ...]


def kept_coordinates(rows: torch.Tensor, dropout: float, seed: int, purpose: Purpose, first: int) -> torch.Tensor:
    """A dropout mask for rows (n, d): 0, or ``1 / (1 - dropout)`` where a coordinate is kept.

    Args:
        rows: (n, d), whose shape, dtype and device the mask has.
        dropout: share of coordinates that are dropped, in [0, 1).
        seed: of the fit.
        purpose: what the mask is for.
        first: number of the first row among all workers' rows.
    """
    drawn = uniform_rows(seed, purpose, first, first + len(rows), rows.shape[1]).to(rows.device)
    return (drawn >= dropout).to(rows.dtype) / (1.0 - dropout)


def noise(length: float, seed: int, purpose: Purpose, draw: Draw, first_user: int) -> Perturb:
    """Noise to add after each hop: ``sign(e) * length * normalize(U(0, 1))`` for each row ``e`` (SimGCL, equation 7).

    Args:
        length: Euclidean length of the noise of a row.
        seed: of the fit.
        purpose: what the noise is for.
        draw: the pass of training.
        first_user: number of the worker's first user.
    """

    def perturb(hop: int, layer: Layer) -> Layer:
        moved = []
        for kind, rows, first in (("users", layer[0], first_user), ("items", layer[1], 0)):
            drawn_for = (*purpose, hop, draw.epoch, draw.step, kind)
            drawn = uniform_rows(seed, drawn_for, first, first + len(rows), rows.shape[1])
            moved.append(rows + rows.sign() * functional.normalize(drawn.to(rows.device)) * length)
        return moved[0], moved[1]

    return perturb
