"""XSimGCL (Yu et al., "XSimGCL: Towards Extremely Simple Graph Contrastive Learning for Recommendation", TKDE 2023).

A single pass with noise gives the vectors that are trained, and is contrasted with one of its own layers.
"""

from __future__ import annotations

import torch

from hnlm_ray.config.backbones import XSimGCLOptions
from hnlm_ray.models.contrasting import ContrastingBackbone
from hnlm_ray.models.noise import noise
from hnlm_ray.models.protocol import Draw, Encoding

__all__ = ["XSimGCL"]


class XSimGCL(ContrastingBackbone[XSimGCLOptions]):
    """The mean of layers 1 to L, in training with noise after each hop; no more products with the graph than LightGCN.

    The views are the final vectors and the layer ``contrast_layer``, both of the noisy pass.
    """

    def _train_pass(self, users: torch.Tensor, items: torch.Tensor, draw: Draw) -> Encoding:
        options, graph = self._options, self._graph
        perturb = noise(options.noise, self._seed, ("xsimgcl",), draw, graph.first_user)
        mean = [0.0] + [1.0 / options.layers] * options.layers
        alone = [float(layer == options.contrast_layer) for layer in range(options.layers + 1)]
        final, contrasted = graph.propagate(users, items, [mean, alone], perturb)
        return Encoding(final, views=(final, contrasted))
