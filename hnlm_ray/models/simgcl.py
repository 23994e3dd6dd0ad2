"""SimGCL (Yu et al., "Are Graph Augmentations Necessary?", SIGIR 2022).

LightGCN without layer 0, trained also to tell nodes apart across two passes with random noise.
"""

from __future__ import annotations

import torch
from torch import nn

from hnlm_ray.config.backbones import SimGCLOptions
from hnlm_ray.models.lightgcn import mean_of_layers
from hnlm_ray.models.noise import noise
from hnlm_ray.models.protocol import Draw, Encoding, Graph, Layer

__all__ = ["SimGCL"]


class SimGCL(nn.Module):
    """No parameters beside the embeddings."""

    def __init__(self, options: SimGCLOptions, graph: Graph, dim: int, seed: int) -> None:
        super().__init__()
        self._options = options
        self._graph = graph
        self._seed = seed

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        """The mean of layers 1 to L, and in training two more passes with noise after each hop.

        Returns:
            Final users (U, d) and items (I, d); two views in these shapes where ``draw`` is given.

        Raises:
            ValueError: ``layers``, which this backbone does not give.
        """
        if layers:
            raise ValueError("SimGCL gives no layers")
        final = mean_of_layers(self._graph, users, items, self._options.layers, first=1, draw=draw)
        if draw is None:
            return Encoding(final)
        return Encoding(final, views=(self._noisy(users, items, draw, 0), self._noisy(users, items, draw, 1)))

    def _noisy(self, users: torch.Tensor, items: torch.Tensor, draw: Draw, view: int) -> Layer:
        options, graph = self._options, self._graph
        perturb = noise(options.noise, self._seed, ("simgcl", view), draw, graph.first_user)
        share = 1.0 / options.layers
        return graph.propagate(users, items, [[0.0] + [share] * options.layers], perturb)[0]
