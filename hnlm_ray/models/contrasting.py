"""What the relatives of LightGCN have in common that contrast two views of their nodes in training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

import torch
from torch import nn

from hnlm_ray.config.backbones import SGLOptions, SimGCLOptions, XSimGCLOptions
from hnlm_ray.models.lightgcn import mean_of_layers
from hnlm_ray.models.protocol import Draw, Encoding, Graph

__all__ = ["ContrastingBackbone"]

Options = TypeVar("Options", SGLOptions, SimGCLOptions, XSimGCLOptions)


class ContrastingBackbone(nn.Module, ABC, Generic[Options]):
    """Ranks by the mean of layers; has no parameters beside the embeddings and gives no layers.

    Attributes:
        first: of the layers in the mean.
    """

    first: ClassVar[int] = 1

    def __init__(self, options: Options, graph: Graph, dim: int, seed: int) -> None:
        super().__init__()
        self._options: Options = options
        self._graph, self._seed = graph, seed

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        """The mean of layers ``first`` to L, or a pass of training.

        Returns:
            Final users (U, d) and items (I, d); two views in these shapes where ``draw`` is given.

        Raises:
            ValueError: ``layers``, which this backbone does not give.
        """
        if layers:
            raise ValueError(f"{type(self).__name__} gives no layers")
        if draw is None:
            return Encoding(mean_of_layers(self._graph, users, items, self._options.layers, self.first))
        return self._train_pass(users, items, draw)

    @abstractmethod
    def _train_pass(self, users: torch.Tensor, items: torch.Tensor, draw: Draw) -> Encoding:
        """Final vectors and two views, in the shapes of :meth:`encode`."""
