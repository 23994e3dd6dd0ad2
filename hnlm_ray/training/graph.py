"""The interaction graph with the users divided over workers: exact full-graph propagation.

Worker ``r`` holds the rows ``R_r`` of the normalised user-item matrix. One hop is ``U_r <- R_r I``, which is local, and
``I <- sum over r of R_r^T U_r``, one all-reduce of the item table. The operator is linear and symmetric, so the
gradient of any weighted sum of its powers is the same sum of powers applied to the gradient: the backward pass runs the
same code, by Horner's rule, and nothing is saved between the two.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from hnlm_ray import seeds
from hnlm_ray.data.histories import Histories
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import ResourceError
from hnlm_ray.kernels.incidence import incidence
from hnlm_ray.kernels.products import SparseBlock
from hnlm_ray.kernels.rows import laid_out
from hnlm_ray.models.protocol import Layer, Perturb
from hnlm_ray.training.collectives import divided, replicate, sum_over_workers, world_size

__all__ = ["InteractionGraph", "edge_weights"]

_MOST_PAIRS = 2**31 - 1

Term = tuple[float, Layer] | None
"""A multiple of a layer; None for nothing."""

Reads = tuple[torch.Tensor | None, torch.Tensor | None]
"""Numbers of rows of users and of items."""


class InteractionGraph:
    """See :class:`hnlm_ray.models.protocol.Graph`.

    Attributes:
        first_user: the number of this worker's first user among all.
        histories: the interactions in order of time, for backbones that read it.
    """

    def __init__(
        self,
        train: Interactions,
        first_user: int,
        item_degrees: npt.NDArray[np.int64],
        device: torch.device,
        histories: Histories | None = None,
    ) -> None:
        """Keep the interactions; the matrices are laid out when something is propagated first.

        Args:
            train: the train interactions of the worker's users.
            first_user: the number of its first user.
            item_degrees: (n_items,) train interactions of each item over all workers.
            device: where embeddings are.
            histories: of the worker's users.

        Raises:
            ResourceError: the block has more interactions than an int32 can number.
        """
        if len(train) > _MOST_PAIRS:
            raise ResourceError(
                f"one worker would hold {len(train)} interactions, at most {_MOST_PAIRS} fit", "raise train.workers"
            )
        self.first_user = first_user
        self.histories = histories
        self._train = train
        self._item_degrees = item_degrees
        self._device = device

    @functools.cached_property
    def _blocks(self) -> tuple[SparseBlock, SparseBlock]:
        """The worker's block and its transpose."""
        train = self._train
        block = incidence(train, edge_weights(train, self._item_degrees))
        return SparseBlock(block, self._device), SparseBlock(sparse.csr_array(block.T), self._device)

    def propagate(
        self,
        users: torch.Tensor,
        items: torch.Tensor,
        weights: Sequence[Sequence[float]],
        perturb: Perturb | None = None,
        only: torch.Tensor | None = None,
    ) -> list[Layer]:
        """See :meth:`hnlm_ray.models.protocol.Graph.propagate`.

        In the backward pass the gradient of the items must already be the sum over the workers, see
        :func:`hnlm_ray.training.collectives.replicate`; so is the one that comes out.
        """
        flat = _Propagate.apply(self, weights, perturb, only, users, items)  # type: ignore[no-untyped-call]
        return list(zip(flat[::2], flat[1::2], strict=True))

    def thinned(self, drop: float, seed: int, purpose: tuple[str | int, ...]) -> InteractionGraph:
        """See :meth:`hnlm_ray.models.protocol.Graph.thinned`."""
        train = self._train
        pairs = train.keys + self.first_user * train.n_items
        words = seeds.hash_counters(seeds.derive(seed, *purpose), pairs)
        kept = (words >> np.uint64(11)).astype(np.float64) >= drop * 2.0**53
        fewer = Interactions.from_pairs(train.users[kept], train.items[kept], train.n_users, train.n_items)
        degrees = torch.from_numpy(fewer.item_popularity).to(self._device)
        return InteractionGraph(fewer, self.first_user, sum_over_workers(degrees).cpu().numpy(), self._device)

    def shared(self, weight: torch.Tensor) -> torch.Tensor:
        """See :meth:`hnlm_ray.models.protocol.Graph.shared`."""
        return divided(weight)

    def replicated(self, items: torch.Tensor) -> torch.Tensor:
        """See :meth:`hnlm_ray.models.protocol.Graph.replicated`."""
        return replicate(items)[0]

    def sum_of_powers(
        self, terms: Sequence[Term], reads: Reads = (None, None), only: torch.Tensor | None = None
    ) -> Layer:
        """``sum over l of A^l terms[l]`` by Horner's rule, one product per power; the last term must not be None.

        Args:
            terms: by power.
            reads: of users and of items, the rows where the last term is not 0; None for all. The first product reads
                no others.
            only: the rows of users that are wanted of the last product; None for all.
        """
        last = terms[-1]
        assert last is not None
        scale, rows = last
        is_ours = False
        for number, term in reversed(list(enumerate(terms[:-1]))):
            rows = self._hop_and_add(rows, scale, term, reads, only if number == 0 else None, is_ours)
            scale, reads, is_ours = 1.0, (None, None), True
        return rows if scale == 1.0 else (rows[0] * scale, rows[1] * scale)

    def hop(self, users: torch.Tensor, items: torch.Tensor) -> Layer:
        """One product with the adjacency."""
        return self._hop_and_add((users, items), 1.0, None, (None, None), None, False)

    def _hop_and_add(
        self, rows: Layer, scale: float, term: Term, reads: Reads, only: torch.Tensor | None, is_spare: bool
    ) -> Layer:
        """``scale * A rows + term``; spare rows may be overwritten, which saves a table of users at the peak."""
        users, items = rows
        block, transposed = self._blocks
        share, (other_users, other_items) = term if term is not None else (0.0, (None, None))
        if world_size() == 1:
            new_items = transposed.multiply(users, scale, other_items, share, reads=reads[0])
        else:
            new_items = sum_over_workers(transposed.multiply(users, scale, reads=reads[0]))
            new_items = new_items if other_items is None else new_items.add_(other_items, alpha=share)
        spare = users if is_spare else None
        return block.multiply(items, scale, other_users, share, reads=reads[1], only=only, spare=spare), new_items


class _Propagate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        graph: InteractionGraph,
        weights: Sequence[Sequence[float]],
        perturb: Perturb | None,
        only: torch.Tensor | None,
        users: torch.Tensor,
        items: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        ctx.graph, ctx.weights = graph, weights
        if len(weights) == 1 and perturb is None:
            return graph.sum_of_powers([(share, (users, items)) if share else None for share in weights[0]], only=only)
        return _each_layer(graph, weights, perturb, (users, items))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        dense = [laid_out(gradient) for gradient in gradients]
        layers = list(zip(dense[::2], dense[1::2], strict=True))
        terms = [_weighted(shares, layers) for shares in zip(*ctx.weights, strict=True)]
        # A batch touches few rows, so most rows of its gradient are 0 and the first product need not read them.
        sides = gradients[::2], gradients[1::2]
        return None, None, None, None, *ctx.graph.sum_of_powers(terms, (_touched(sides[0]), _touched(sides[1])))


def _touched(gradients: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """Numbers of the rows that gradients hold, some twice; None when one holds all."""
    if not all(gradient.is_sparse for gradient in gradients):
        return None
    return torch.cat([gradient._indices()[0] for gradient in gradients])


def _each_layer(
    graph: InteractionGraph, weights: Sequence[Sequence[float]], perturb: Perturb | None, rows: Layer
) -> tuple[torch.Tensor, ...]:
    """The outputs one after another, users and items of each, from the layers as they come."""
    outputs: list[Layer | None] = [None] * len(weights)
    for number, shares in enumerate(zip(*weights, strict=True)):
        if number > 0:
            rows = graph.hop(*rows)
            rows = rows if perturb is None else perturb(number, rows)
        for output, share in enumerate(shares):
            so_far = outputs[output]
            if share and so_far is None:
                # A copy, as the sum grows in place and a layer may be an input.
                outputs[output] = (rows[0] * share, rows[1] * share)
            elif share and so_far is not None:
                so_far[0].add_(rows[0], alpha=share)
                so_far[1].add_(rows[1], alpha=share)
    return tuple(table for output in outputs if output is not None for table in output)


def _weighted(shares: Sequence[float], layers: Sequence[Layer]) -> Term:
    """``sum over o of shares[o] * layers[o]``."""
    present = [(share, layer) for share, layer in zip(shares, layers, strict=True) if share]
    if len(present) < 2:
        return present[0] if present else None
    users, items = (torch.stack([share * layer[side] for share, layer in present]).sum(dim=0) for side in (0, 1))
    return 1.0, (users, items)


def edge_weights(train: Interactions, item_degrees: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """``1 / sqrt(degree of user * degree of item)`` of each interaction.

    Args:
        train: a block of users.
        item_degrees: (n_items,) train interactions of each item over *all* users.

    Returns:
        (nnz,) float32, in the order of ``train.items``.
    """
    product = train.degree[train.users].astype(np.float64) * item_degrees[train.items]
    weights: npt.NDArray[np.float32] = (1.0 / np.sqrt(product)).astype(np.float32)
    return weights
