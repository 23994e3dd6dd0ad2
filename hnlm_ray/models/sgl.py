"""SGL with edge dropout (Wu et al., "Self-supervised Graph Learning for Recommendation", SIGIR 2021).

LightGCN, trained also to tell nodes apart across two graphs from which some edges were dropped.
"""

from __future__ import annotations

import torch

from hnlm_ray.config.backbones import SGLOptions
from hnlm_ray.models.contrasting import ContrastingBackbone
from hnlm_ray.models.lightgcn import mean_of_layers
from hnlm_ray.models.protocol import Draw, Encoding, Graph

__all__ = ["SGL"]


class SGL(ContrastingBackbone[SGLOptions]):
    """LightGCN's mean of layers, in training also over two thinned graphs, which are drawn anew for each epoch."""

    first = 0
    _epoch = 0
    _thinned: tuple[Graph, ...] = ()

    def _train_pass(self, users: torch.Tensor, items: torch.Tensor, draw: Draw) -> Encoding:
        if draw.epoch != self._epoch:
            drop, seed = self._options.drop, self._seed
            self._thinned = tuple(self._graph.thinned(drop, seed, ("sgl", draw.epoch, view)) for view in (0, 1))
            self._epoch = draw.epoch
        final, first, second = (
            mean_of_layers(graph, users, items, self._options.layers, draw=draw)
            for graph in (self._graph, *self._thinned)
        )
        return Encoding(final, views=(first, second))
