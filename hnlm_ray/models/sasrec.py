"""SASRec (Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018).

The vector of a user is the last state of a transformer over the user's latest items in order of time; the vectors of
items are the embeddings that it reads. In training, every state is a user who has not yet had the next item.

Blocks are as published: attention to earlier positions and then two layers with a ReLU, each on normalised rows, with
dropout and a residual connection. Attention weights themselves are not dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from hnlm_ray import seeds
from hnlm_ray.config.backbones import SASRecOptions
from hnlm_ray.data.histories import Histories
from hnlm_ray.kernels.hashing import random_below
from hnlm_ray.kernels.rows import dense_gradient, on_device, rows_of
from hnlm_ray.models.protocol import Draw, Encoding, Graph
from hnlm_ray.models.windows import Windows, latest_windows, windows_before

__all__ = ["SASRec"]

Drop = Callable[[torch.Tensor, str], torch.Tensor]
"""Rows (S, T, d) and what they are, to the rows with some coordinates dropped."""

_USERS_AT_ONCE = 512
_GRAIN = 1 << 24
"""Steps of the random numbers that dropout compares."""


class SASRec(nn.Module):
    """Has positions and blocks of a transformer, which are the same on all workers; reads no embedding of a user."""

    def __init__(self, options: SASRecOptions, graph: Graph, dim: int, seed: int) -> None:
        """Start from values derived from ``seed``.

        Raises:
            ValueError: the graph has no histories.
        """
        super().__init__()
        if graph.histories is None:
            raise ValueError("SASRec needs the histories of users in order of time")
        self._options, self._graph, self._seed = options, graph, seed
        self._histories = graph.histories
        self.positions = nn.Parameter(torch.empty(options.length, dim))
        self.blocks = nn.ModuleList(_Block(dim, options.heads, number) for number in range(options.blocks))
        self.norm = nn.LayerNorm(dim)
        generator = torch.Generator().manual_seed(seeds.derive(seed, "init", "sasrec"))
        with torch.no_grad():
            self.positions.normal_(std=0.02, generator=generator)
            for layer in self.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.xavier_uniform_(layer.weight, generator=generator)
                    nn.init.zeros_(layer.bias)

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        """The states of the transformer, and the embeddings of the items as they are.

        Returns:
            Final users (U, d), zeros for users without an item, and items (I, d). If the draw names targets: the users
            of these pairs (B, d) instead, before the interaction of each.

        Raises:
            ValueError: ``layers``; a state is not a mean of layers.
        """
        if layers:
            raise ValueError("the states of SASRec are not a mean of layers")
        items = dense_gradient(items)
        if draw is None or draw.targets is None:
            return Encoding((self.latest(self._histories, items, draw), items))
        windows = windows_before(self._histories, draw.targets, self._options.length)
        return Encoding((items[:0], items), of_pairs=self._states(windows, items, draw))

    def latest(self, histories: Histories, items: torch.Tensor, draw: Draw | None = None) -> torch.Tensor:
        """The state (U, d) of every user after the latest item of their history; zeros where there is none.

        Args:
            histories: of the graph's users.
            items: (I, d).
            draw: the pass of training; None drops nothing.
        """
        blocks = [items.new_zeros(0, items.shape[1])]
        for first in range(0, histories.n_users, _USERS_AT_ONCE):
            last = min(first + _USERS_AT_ONCE, histories.n_users)
            windows = latest_windows(histories, first, last, self._options.length)
            rows = items.new_zeros(last - first, items.shape[1])
            places = on_device(windows.users - first, items.device)
            blocks.append(rows.index_copy(0, places, self._states(windows, items, draw)))
        return dense_gradient(torch.cat(blocks))

    def _states(self, windows: Windows, items: torch.Tensor, draw: Draw | None) -> torch.Tensor:
        """The chosen states (B, d)."""
        numbers, positions = (on_device(cells, items.device) for cells in (windows.items, windows.positions))
        drop = self._dropout(windows, positions, draw)
        read = rows_of(self._graph.replicated(items), numbers)
        rows = drop(read * math.sqrt(read.shape[2]) + functional.embedding(positions, self.positions), "input")
        for block in self.blocks:
            rows = block(rows, drop)
        cells: torch.Tensor = self.norm(rows).reshape(-1, rows.shape[2])
        return cells.index_select(0, on_device(windows.chosen, items.device))

    def _dropout(self, windows: Windows, positions: torch.Tensor, draw: Draw | None) -> Drop:
        """Dropout that derives from the epoch, the user and the position, whichever worker and batch they are in."""
        share = self._options.dropout
        if draw is None or share == 0.0:
            return lambda rows, purpose: rows
        epoch = draw.epoch
        users = on_device(windows.users, positions.device)[:, None] + self._graph.first_user
        cells = (users * self._options.length + positions)[:, :, None]

        def drop(rows: torch.Tensor, purpose: str) -> torch.Tensor:
            counters = cells * rows.shape[2] + torch.arange(rows.shape[2], device=rows.device)
            key = seeds.derive(self._seed, "sasrec", epoch, purpose)
            kept = random_below(key, counters, _GRAIN) >= round(share * _GRAIN)
            return rows * kept.to(rows.dtype) / (1.0 - share)

        return drop


class _Block(nn.Module):
    """One block of the transformer."""

    def __init__(self, dim: int, heads: int, number: int) -> None:
        super().__init__()
        self._heads, self._number = heads, number
        self.before_attention, self.before_layers = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.joined = nn.Linear(dim, dim)
        self.inner, self.outer = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, rows: torch.Tensor, drop: Drop) -> torch.Tensor:
        """Rows (S, T, d) of S users to rows of the same shape; a position reads none after it."""
        normal = self.before_attention(rows)
        query, key, value = (
            part(normal).unflatten(2, (self._heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        rows = rows + drop(self.joined(mixed.transpose(1, 2).flatten(2)), f"attention {self._number}")
        inner = torch.relu(self.inner(self.before_layers(rows)))
        found: torch.Tensor = rows + drop(self.outer(inner), f"layers {self._number}")
        return found
