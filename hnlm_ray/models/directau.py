"""DirectAU (Wang et al., KDD 2022): alignment of positives and uniformity of users and items, without negatives.

The encoder is matrix factorisation or LightGCN; what is particular is the loss, see
:class:`hnlm_ray.training.objective.AlignmentUniformity`.
"""

from __future__ import annotations

import torch
from torch import nn

from hnlm_ray.config.backbones import DirectAUOptions
from hnlm_ray.kernels.rows import dense_gradient
from hnlm_ray.models.lightgcn import mean_of_layers
from hnlm_ray.models.protocol import Draw, Encoding, Graph

__all__ = ["DirectAU"]


class DirectAU(nn.Module):
    """No parameters beside the embeddings."""

    def __init__(self, options: DirectAUOptions, graph: Graph, dim: int, seed: int) -> None:
        super().__init__()
        self._layers = options.layers
        self._graph = graph

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        """See :class:`hnlm_ray.models.protocol.Backbone`."""
        if layers:
            raise ValueError("DirectAU takes no negatives and gives no layers")
        if self._layers == 0:
            return Encoding((dense_gradient(users), dense_gradient(items)))
        return Encoding(mean_of_layers(self._graph, users, items, self._layers, draw=draw))
