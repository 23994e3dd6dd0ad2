"""DirectAU (Wang et al., "Towards Representation Alignment and Uniformity in Collaborative Filtering", KDD 2022).

The encoder is matrix factorisation or LightGCN. The method is the loss, which needs no negatives: it aligns
users with their positives and spreads both users and items uniformly, see
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
    """Matrix factorisation with ``layers: 0``, else LightGCN; no parameters beside the embeddings."""

    def __init__(self, options: DirectAUOptions, graph: Graph, dim: int, seed: int) -> None:
        super().__init__()
        self._layers = options.layers
        self._graph = graph

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        """The embeddings, or LightGCN's mean of layers.

        Returns:
            Final users (U, d) and items (I, d).

        Raises:
            ValueError: ``layers``; there are no negatives that could be mixed from them.
        """
        if layers:
            raise ValueError("DirectAU takes no negatives and has no layers to give")
        if self._layers == 0:
            return Encoding((dense_gradient(users), dense_gradient(items)))
        return Encoding(mean_of_layers(self._graph, users, items, self._layers, draw=draw))
