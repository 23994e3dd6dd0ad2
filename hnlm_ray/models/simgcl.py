"""SimGCL (Yu et al., "Are Graph Augmentations Necessary?", SIGIR 2022).

LightGCN without layer 0, trained also to tell nodes apart across two passes with random noise.
"""

from __future__ import annotations

import torch

from hnlm_ray.config.backbones import SimGCLOptions
from hnlm_ray.models.contrasting import ContrastingBackbone
from hnlm_ray.models.lightgcn import mean_of_layers
from hnlm_ray.models.noise import noise
from hnlm_ray.models.protocol import Draw, Encoding

__all__ = ["SimGCL"]


class SimGCL(ContrastingBackbone[SimGCLOptions]):
    """The mean of layers 1 to L, and in training two more passes with noise after each hop."""

    def _train_pass(self, users: torch.Tensor, items: torch.Tensor, draw: Draw) -> Encoding:
        options, graph = self._options, self._graph
        final = mean_of_layers(graph, users, items, options.layers, self.first, draw)
        mean = [0.0] + [1.0 / options.layers] * options.layers
        first, second = (
            graph.propagate(
                users, items, [mean], noise(options.noise, self._seed, ("simgcl", view), draw, graph.first_user)
            )[0]
            for view in (0, 1)
        )
        return Encoding(final, views=(first, second))
