"""XSimGCL (Yu et al., "XSimGCL: Towards Extremely Simple Graph Contrastive Learning for Recommendation", TKDE 2023).

A single pass with noise gives the vectors that are trained, and is contrasted with one of its own layers.
"""

from __future__ import annotations

import torch
from torch import nn

from hnlm_ray.config.backbones import XSimGCLOptions
from hnlm_ray.models.lightgcn import mean_of_layers
from hnlm_ray.models.noise import noise
from hnlm_ray.models.protocol import Draw, Encoding, Graph

__all__ = ["XSimGCL"]


class XSimGCL(nn.Module):
    """No parameters beside the embeddings, and no more products with the graph than LightGCN."""

    def __init__(self, options: XSimGCLOptions, graph: Graph, dim: int, seed: int) -> None:
        super().__init__()
        self._options = options
        self._graph = graph
        self._seed = seed

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        """The mean of layers 1 to L, in training with noise after each hop.

        Returns:
            Final users (U, d) and items (I, d); where ``draw`` is given also two views in these shapes: the final
            vectors and the layer ``contrast_layer``, both of the noisy pass.

        Raises:
            ValueError: ``layers``, which this backbone does not give.
        """
        options, graph = self._options, self._graph
        if layers:
            raise ValueError("XSimGCL gives no layers")
        if draw is None:
            return Encoding(mean_of_layers(graph, users, items, options.layers, first=1))
        perturb = noise(options.noise, self._seed, ("xsimgcl",), draw, graph.first_user)
        mean = [0.0] + [1.0 / options.layers] * options.layers
        alone = [float(layer == options.contrast_layer) for layer in range(options.layers + 1)]
        final, contrasted = graph.propagate(users, items, [mean, alone], perturb)
        return Encoding(final, views=(final, contrasted))
