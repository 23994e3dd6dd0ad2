"""The interface between a backbone, the interaction graph and the training loop.

A backbone turns embeddings into final vectors whose inner products are the scores. Whether it sees all users or those
of one worker is hidden by its graph. Shapes: U users of the worker, I items (all of them), d the dimension of the
embeddings, D that of the final vectors (D = d except for backbones that concatenate layers).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hnlm_ray.data.histories import Histories

__all__ = ["Backbone", "Draw", "Encoding", "Graph", "Layer", "Perturb", "ReadsHistories"]

Layer = tuple[torch.Tensor, torch.Tensor]
"""Rows of users (U, d) and of items (I, d)."""

Perturb = Callable[[int, Layer], Layer]
"""Takes the number of a hop, from 1, and its rows; returns the rows with something added."""


@dataclass(frozen=True)
class Draw:
    """Which pass of training this is; everything random in it derives from this and the seed.

    Attributes:
        epoch: from 1.
        step: of the batch in the epoch, from 0.
        users: int64, the rows of users that will be read; a backbone need not compute others. None for all.
        targets: (B,) int64 on the CPU, places of the pairs in the items of the graph's histories, for backbones that
            read these; None for the latest state of every user.
    """

    epoch: int
    step: int
    users: torch.Tensor | None = None
    targets: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Encoding:
    """The vectors of one pass.

    Attributes:
        final: users (U, D) and items (I, D). With ``of_pairs`` no users (0, D).
        layers: users (U, d) and items (I, d) of each layer, whose mean is ``final``; empty unless requested.
        views: two encodings of the same nodes for a contrastive objective, users (U, D) and items (I, D) each; None
            outside of training, and for backbones without such an objective.
        of_pairs: (B, D) the user of each pair as of before it, from backbones that read histories, where the draw names
            targets; None elsewhere.
    """

    final: Layer
    layers: Sequence[Layer] = ()
    views: tuple[Layer, Layer] | None = None
    of_pairs: torch.Tensor | None = None


class Graph(Protocol):
    """The bipartite graph of train interactions with the symmetric normalisation ``1 / sqrt(deg u * deg i)``."""

    first_user: int
    """The number of the first row of users among all users."""
    histories: Histories | None
    """The train interactions of the users in order of time; None unless the backbone reads them."""

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
            users: (U, d) float32.
            items: (I, d) float32.
            weights: one list per output, all of the same length L + 1.
            perturb: what is added after each hop; constant in the gradient.
            only: int64 rows of users that will be read; others may hold anything. None for all.

        Returns:
            Users (U, d) and items (I, d) of each output.
        """
        ...

    def thinned(self, drop: float, seed: int, purpose: tuple[str | int, ...]) -> Graph:
        """The graph without a random share ``drop`` of its edges, normalised again; the same on all workers."""
        ...

    def shared(self, weight: torch.Tensor) -> torch.Tensor:
        """The same weight, to be used on item rows: every worker computes these, and the gradient counts them once."""
        ...

    def replicated(self, items: torch.Tensor) -> torch.Tensor:
        """The same item rows, to be used on rows of this worker's users: their gradient is summed over all workers."""
        ...


class Backbone(Protocol):
    """Turns embeddings into the vectors that score."""

    def encode(
        self, users: torch.Tensor, items: torch.Tensor, draw: Draw | None = None, *, layers: bool = False
    ) -> Encoding:
        """Encode all users and items of the graph.

        Args:
            users: (U, d) float32 embeddings.
            items: (I, d) float32 embeddings.
            draw: the pass of training; None for the vectors that rank, in which nothing is random.
            layers: whether to return each layer, for samplers that mix layers.

        Raises:
            ValueError: ``layers`` from a backbone whose final vectors are not a mean of layers.
        """
        ...


@runtime_checkable
class ReadsHistories(Protocol):
    """A backbone that knows a user by the items of a history."""

    def latest(self, histories: Histories, items: torch.Tensor, draw: Draw | None = None) -> torch.Tensor:
        """Vectors (U, D) of the users of the graph after the latest item of some histories of theirs.

        Args:
            histories: U of them.
            items: (I, d) float32 embeddings.
            draw: the pass of training; None where nothing is random.
        """
        ...
