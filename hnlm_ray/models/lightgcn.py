"""LightGCN (He et al., "LightGCN: Simplifying and Powering Graph Convolution Network", SIGIR 2020)."""

from __future__ import annotations

import torch
from torch import nn

from hnlm_ray.config.backbones import LightGCNOptions
from hnlm_ray.kernels.rows import dense_gradient
from hnlm_ray.models.protocol import Draw, Encoding, Graph, Layer

__all__ = ["LightGCN", "mean_of_layers"]


class LightGCN(nn.Module):
    """``1 / (L + 1) * sum of A^l E`` for ``l`` from 0 to ``L`` (equation 8 with equal weights); no other parameters."""

    def __init__(self, options: LightGCNOptions, graph: Graph, dim: int, seed: int) -> None:
        super().__init__()
        self._graph = graph
        self._layers = options.layers

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        """The mean of the layers.

        Returns:
            Final users (U, d) and items (I, d); with ``layers`` also the L + 1 layers in these shapes. Raises nothing.
        """
        if not layers:
            return Encoding(mean_of_layers(self._graph, users, items, self._layers, draw=draw))
        each = [[float(layer == output) for layer in range(self._layers + 1)] for output in range(self._layers + 1)]
        rows = self._graph.propagate(users, items, each)
        means = [dense_gradient(torch.stack(tables).mean(dim=0)) for tables in zip(*rows, strict=True)]
        return Encoding((means[0], means[1]), rows)


def mean_of_layers(
    graph: Graph, users: torch.Tensor, items: torch.Tensor, layers: int, first: int = 0, draw: Draw | None = None
) -> Layer:
    """``1 / (L - first + 1) * sum of A^l E`` for ``l`` from ``first`` to ``L``: users (U, d) and items (I, d).

    Args:
        graph: A.
        users: (U, d).
        items: (I, d).
        layers: L.
        first: of the layers in the mean.
        draw: the pass of training; only the rows of users that it will read are computed.
    """
    share = 1.0 / (layers - first + 1)
    weights = [share if layer >= first else 0.0 for layer in range(layers + 1)]
    return graph.propagate(users, items, [weights], only=None if draw is None else draw.users)[0]
