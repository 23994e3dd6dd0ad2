"""Maps text vectors into the space of collaborative embeddings."""

from __future__ import annotations

import math

import torch
from torch import nn

from hnlm_ray import seeds
from hnlm_ray.kernels.rows import widened

__all__ = ["Alignment"]

HIDDEN_DIM = 256
"""Width between the layers."""


class Alignment(nn.Module):
    """Two linear layers with a ReLU between them; none after, so that every coordinate can have either sign."""

    def __init__(self, in_dim: int, out_dim: int, seed: int) -> None:
        """Start from values derived from ``seed``, so that every worker starts with the same weights.

        Args:
            in_dim: dimension of the text vectors.
            out_dim: dimension of the collaborative embeddings.
            seed: of the fit.
        """
        super().__init__()
        self.first = nn.Linear(in_dim, HIDDEN_DIM)
        self.second = nn.Linear(HIDDEN_DIM, out_dim)
        generator = torch.Generator().manual_seed(seeds.derive(seed, "init", "alignment"))
        with torch.no_grad():
            for layer in (self.first, self.second):
                layer.weight.normal_(std=math.sqrt(2.0 / layer.in_features), generator=generator)
                layer.bias.zero_()

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Text vectors (B, in_dim) float32 to embeddings (B, out_dim) float32."""
        return widened(self.second(torch.relu(self.first(vectors))))
