"""NGCF (Wang et al., "Neural Graph Collaborative Filtering", SIGIR 2019).

Layer ``l + 1`` is ``LeakyReLU((A E + E) W1 + b1 + (A E * E) W2 + b2)`` (equation 7, with ``A`` the symmetric
normalisation of the paper; the authors' code defaults to another one), followed by message dropout. The final vector
concatenates all layers, each at unit length as in their code, so it has ``(L + 1) d`` coordinates.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from hnlm_ray import seeds
from hnlm_ray.config.backbones import NGCFOptions
from hnlm_ray.kernels.rows import dense_gradient, widened
from hnlm_ray.models.noise import kept_coordinates
from hnlm_ray.models.protocol import Draw, Encoding, Graph

__all__ = ["NGCF"]

_SLOPE = 0.2


class NGCF(nn.Module):
    """Has two linear maps per layer, which are the same on all workers."""

    def __init__(self, options: NGCFOptions, graph: Graph, dim: int, seed: int) -> None:
        super().__init__()
        self._graph = graph
        self._dropout = options.dropout
        self._seed = seed
        self.neighbour = nn.ModuleList(nn.Linear(dim, dim) for _ in range(options.layers))
        self.product = nn.ModuleList(nn.Linear(dim, dim) for _ in range(options.layers))
        generator = torch.Generator().manual_seed(seeds.derive(seed, "init", "ngcf"))
        for linear in [*self.neighbour, *self.product]:
            nn.init.xavier_uniform_(linear.weight, generator=generator)
            nn.init.zeros_(linear.bias)

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        """All layers concatenated.

        Returns:
            Final users (U, (L + 1) d) and items (I, (L + 1) d).

        Raises:
            ValueError: ``layers``; a concatenation is not a mean of layers.
        """
        if layers:
            raise ValueError("the vectors of NGCF are not a mean of layers")
        parts = [(users, items)]
        for layer in range(len(self.neighbour)):
            (near_users, near_items) = self._graph.propagate(users, items, [[0.0, 1.0]])[0]
            users = self._drop(self._message(layer, users, near_users, on_items=False), draw, layer, "users")
            items = self._drop(self._message(layer, items, near_items, on_items=True), draw, layer, "items")
            parts.append((functional.normalize(users), functional.normalize(items)))
        joined = [dense_gradient(torch.cat(tables, dim=1)) for tables in zip(*parts, strict=True)]
        return Encoding((joined[0], joined[1]))

    def _message(self, layer: int, rows: torch.Tensor, near: torch.Tensor, *, on_items: bool) -> torch.Tensor:
        weights = [*self.neighbour[layer].parameters(), *self.product[layer].parameters()]
        used = [self._graph.shared(weight) for weight in weights] if on_items else weights
        first = widened(functional.linear(near + rows, used[0], used[1]))
        second = widened(functional.linear(near * rows, used[2], used[3]))
        return functional.leaky_relu(first + second, _SLOPE)

    def _drop(self, rows: torch.Tensor, draw: Draw | None, layer: int, kind: str) -> torch.Tensor:
        if draw is None or self._dropout == 0.0:
            return rows
        first = self._graph.first_user if kind == "users" else 0
        purpose = ("ngcf", draw.epoch, draw.step, layer, kind)
        return rows * kept_coordinates(rows, self._dropout, self._seed, purpose, first)
