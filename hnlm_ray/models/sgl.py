"""SGL with edge dropout (Wu et al., "Self-supervised Graph Learning for Recommendation", SIGIR 2021).

LightGCN, trained also to tell nodes apart across two graphs from which some edges were dropped.
"""

from __future__ import annotations

import torch
from torch import nn

from hnlm_ray.config.backbones import SGLOptions
from hnlm_ray.models.lightgcn import mean_of_layers
from hnlm_ray.models.protocol import Draw, Encoding, Graph

__all__ = ["SGL"]


class SGL(nn.Module):
    """No parameters beside the embeddings; the two thinned graphs are drawn anew for each epoch."""

    def __init__(self, options: SGLOptions, graph: Graph, dim: int, seed: int) -> None:
        super().__init__()
        self._options = options
        self._graph = graph
        self._seed = seed
        self._epoch = 0
        self._thinned: list[Graph] = []

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        """LightGCN's mean of layers, and in training the same over both thinned graphs.

        Returns:
            Final users (U, d) and items (I, d); two views in these shapes where ``draw`` is given.

        Raises:
            ValueError: ``layers``, which this backbone does not give.
        """
        if layers:
            raise ValueError("SGL gives no layers")
        final = mean_of_layers(self._graph, users, items, self._options.layers, draw=draw)
        if draw is None:
            return Encoding(final)
        graphs = self._graphs(draw.epoch)
        views = [mean_of_layers(graph, users, items, self._options.layers, draw=draw) for graph in graphs]
        return Encoding(final, views=(views[0], views[1]))

    def _graphs(self, epoch: int) -> list[Graph]:
        if epoch != self._epoch:
            drop, seed = self._options.drop, self._seed
            self._thinned = [self._graph.thinned(drop, seed, ("sgl", epoch, view)) for view in (0, 1)]
            self._epoch = epoch
        return self._thinned
