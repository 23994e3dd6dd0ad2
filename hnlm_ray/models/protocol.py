"""What a backbone sees of the interaction graph, and what it gives to the training loop.

A backbone turns first-layer embeddings into final vectors whose inner products are the scores. It never learns whether
it sees all users or the block of one worker: the graph it is given hides that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

__all__ = ["Backbone", "Draw", "Encoding", "Graph", "Layer", "Perturb"]

Layer = tuple[torch.Tensor, torch.Tensor]
"""Rows of users (U, d) and of items (I, d)."""

Perturb = Callable[[int, Layer], Layer]
"""Adds to the rows after a hop; the hop's number, from 1, and its rows."""


@dataclass(frozen=True)
class Draw:
    """Which pass of training this is: whatever is drawn in it derives from this and the seed.

    Attributes:
        epoch: from 1.
        step: from 0.
        users: int64, the rows of users that will be read; a backbone need not compute others.
    """

    epoch: int
    step: int
    users: torch.Tensor | None = None


@dataclass(frozen=True)
class Encoding:
    """The vectors of one pass.

    Attributes:
        final: users (U, d) and items (I, d).
        layers: one pair per layer whose mean is ``final``; only where they were asked for.
        views: two encodings of the same nodes, to be told apart from all others; only in training, where a backbone
            has them.
    """

    final: Layer
    layers: Sequence[Layer] = ()
    views: tuple[Layer, Layer] | None = None


class Graph(Protocol):
    """The bipartite graph of train interactions with the symmetric normalisation ``1 / sqrt(deg u * deg i)``."""

    first_user: int
    """The number of the first row of users among all users."""

    def propagate(
        self,
        users: torch.Tensor,
        items: torch.Tensor,
        weights: Sequence[Sequence[float]],
        perturb: Perturb | None = None,
        only: torch.Tensor | None = None,
    ) -> list[Layer]:
        """Weighted sums of layers, ``sum over l of weights[o][l] * A^l E``, one for each ``o``; differentiable.

        Args:
            users: (U, d).
            items: (I, d).
            weights: one list per output, all of one length L + 1.
            perturb: what is added after each hop; a constant for the gradient.
            only: rows of users that will be read; others may hold anything. None for all.
        """
        ...

    def thinned(self, drop: float, seed: int, purpose: tuple[str | int, ...]) -> Graph:
        """The graph without about a share ``drop`` of its edges, normalised anew; equal on all workers."""
        ...

    def shared(self, weight: torch.Tensor) -> torch.Tensor:
        """Mark a use of a weight on item rows, which all workers make alike, so that it counts once in the gradient."""
        ...


class Backbone(Protocol):
    """Turns embeddings into vectors."""

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        """One pass.

        Args:
            users: (U, d) first-layer embeddings.
            items: (I, d) first-layer embeddings.
            draw: given in training; None for the vectors that rank.
            layers: whether the layers are asked for.
        """
        ...
