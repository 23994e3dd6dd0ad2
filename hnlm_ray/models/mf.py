"""Matrix factorisation (Koren, Bell and Volinsky, IEEE Computer 2009): the embeddings themselves."""

from __future__ import annotations

import torch
from torch import nn

from hnlm_ray.config.backbones import MFOptions
from hnlm_ray.kernels.rows import dense_gradient
from hnlm_ray.models.protocol import Draw, Encoding, Graph

__all__ = ["MatrixFactorisation"]


class MatrixFactorisation(nn.Module):
    """Scores by the inner products of the embeddings; has no other parameters."""

    def __init__(self, options: MFOptions, graph: Graph, dim: int, seed: int) -> None:
        super().__init__()

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        """The embeddings as they are: (U, d) and (I, d), which with ``layers`` are the only layer; raises nothing."""
        tables = dense_gradient(users), dense_gradient(items)
        return Encoding(tables, [tables] if layers else ())
