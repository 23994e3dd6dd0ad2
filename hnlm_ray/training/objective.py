"""The objectives of a batch: a ranking loss, contrast between views, or alignment and uniformity."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from hnlm_ray.config.losses import CustomLossOptions, Loss
from hnlm_ray.config.plugins import load_object
from hnlm_ray.models import contrast, losses
from hnlm_ray.training.collectives import gather_rows, of_total

__all__ = [
    "BatchNodes",
    "RankingLoss",
    "alignment_and_uniformity",
    "first_occurrences",
    "item_contrast",
    "view_contrast",
]

_USER_BLOCK = 1024


class RankingLoss(nn.Module):
    """The loss of each pair from its scores.

    Attributes:
        is_cosine: whether scores are cosines.
        is_softmax: whether it sums over all negatives of a pair.
        takes_scores: whether a loss over pairs takes scores, not the gaps between them.
        users_threshold: (U_r,) each user's K-th best score, for losses that read it; None otherwise.
    """

    users_threshold: torch.Tensor | None

    def __init__(self, options: Loss, n_users: int, n_items: int, device: torch.device) -> None:
        super().__init__()
        self.is_softmax, self.is_cosine, self.takes_scores = options.is_softmax, options.is_cosine, options.takes_scores
        self._n_items = n_items
        self._values: Callable[..., torch.Tensor]
        if isinstance(options, CustomLossOptions):
            self._values = load_object(options.path, "loss")
        else:
            self._values = pkgutil.resolve_name(options.implementation)
        self._arguments, self._threshold = options.arguments, options.threshold
        needs_threshold = self._threshold is not None
        self.register_buffer("users_threshold", torch.zeros(n_users, device=device) if needs_threshold else None)

    def forward(
        self,
        users: torch.Tensor,
        positive: torch.Tensor,
        negatives: torch.Tensor,
        log_weights: torch.Tensor | None,
        trust: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(B,) losses.

        Args:
            users: (B,) int64, rows of the worker's block.
            positive: (B,) scores.
            negatives: (B, K) scores.
            log_weights: (B, K), see :class:`hnlm_ray.samplers.protocol.Negatives`.
            trust: (B, K) in [0, 1]: the loss of a pair with a negative is multiplied by it, or its logarithm is added
                to the logit of the negative; None for 1.
        """
        if not self.is_softmax:
            if self.takes_scores:
                values = self._values(positive[:, None], negatives, self._n_items, **self._arguments)
            else:
                values = self._values(negatives - positive[:, None], **self._arguments)
            return losses.weighted_mean(values if trust is None else values * trust, log_weights)
        if self.users_threshold is None:
            return self._values(positive, negatives, log_weights, **self._arguments)
        threshold = self.users_threshold.index_select(0, users)
        return self._values(positive, negatives, log_weights, threshold=threshold, **self._arguments)

    def is_refresh_due(self, epoch: int) -> bool:
        """Whether :meth:`refresh` is to be called before an epoch, from 1."""
        return self._threshold is not None and (epoch - 1) % self._threshold[1] == 0

    @torch.no_grad()
    def refresh(self, users: torch.Tensor, items: torch.Tensor) -> None:
        """Compute each user's K-th best score, over all items and exactly.

        Args:
            users: (U_r, d) final vectors.
            items: (I, d) final vectors.
        """
        assert self._threshold is not None
        assert self.users_threshold is not None
        k = min(self._threshold[0], len(items))
        units = functional.normalize(items)
        for first in range(0, len(users), _USER_BLOCK):
            scores = functional.normalize(users[first : first + _USER_BLOCK]) @ units.T
            self.users_threshold[first : first + len(scores)] = scores.topk(k, dim=1).values[:, -1]


class BatchNodes:
    """Which users and items the whole batch holds, over all workers.

    Attributes:
        positions: (B,) int64, places of this worker's pairs in the batch.
        size: G, pairs of the batch.
        items: (G,) int64.
    """

    def __init__(self, users: torch.Tensor, items: torch.Tensor, positions: torch.Tensor, size: int) -> None:
        """Gather the numbers; every worker must call it.

        Args:
            users: (B,) int64, numbers of users among all workers.
            items: (B,) int64.
            positions: (B,) int64.
            size: of the whole batch.
        """
        self.positions, self.size = positions, size
        self.items = gather_rows(items, positions, size)
        self._users = users

    def first_users(self) -> torch.Tensor:
        """(G,) bool, see :func:`first_occurrences`; every worker must call it."""
        return first_occurrences(gather_rows(self._users, self.positions, self.size))

    def first_items(self) -> torch.Tensor:
        """(G,) bool, see :func:`first_occurrences`."""
        return first_occurrences(self.items)


def first_occurrences(numbers: torch.Tensor) -> torch.Tensor:
    """Where each number occurs for the first time: (G,) int64 to (G,) bool, without waiting for the device."""
    ordered, order = numbers.sort(stable=True)
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return torch.empty_like(is_first).scatter_(0, order, is_first)


def view_contrast(
    users: tuple[torch.Tensor, torch.Tensor],
    items: tuple[torch.Tensor, torch.Tensor],
    chosen: tuple[torch.Tensor, torch.Tensor],
    nodes: BatchNodes,
    temperature: float,
) -> torch.Tensor:
    """InfoNCE between two views of the users and of the items of a batch, each node once: this worker's share.

    Args:
        users: (U_r, d) in both views.
        items: (I, d) in both views, equal on all workers.
        chosen: (B,) int64 rows of users and of items.
        nodes: of the whole batch.
        temperature: of the contrast.
    """
    user_rows = [table.index_select(0, chosen[0]) for table in users]
    columns = gather_rows(user_rows[1], nodes.positions, nodes.size)
    of_users = _contrast(user_rows[0], columns, nodes.first_users(), nodes.positions, temperature)
    others = items[1].index_select(0, nodes.items)
    return of_users + item_contrast(items[0].index_select(0, chosen[1]), others, nodes, temperature)


def item_contrast(rows: torch.Tensor, columns: torch.Tensor, nodes: BatchNodes, temperature: float) -> torch.Tensor:
    """InfoNCE between two views of the items of a batch, each item once: this worker's share.

    Args:
        rows: (B, d) the items of this worker's pairs in one view.
        columns: (G, d) the items of the whole batch in the other one.
        nodes: of the whole batch.
        temperature: of the contrast.
    """
    return _contrast(rows, columns, nodes.first_items(), nodes.positions, temperature)


def _contrast(
    rows: torch.Tensor, columns: torch.Tensor, counted: torch.Tensor, own: torch.Tensor, temperature: float
) -> torch.Tensor:
    total, here = counted.sum(), counted.index_select(0, own)
    if (
        rows.device.type == "cpu"
    ):  # repetitions need not be computed; a GPU would have to wait to know how many there are
        rows, columns, own = rows[here], columns[counted], (counted.cumsum(0) - 1)[own[here]]
        counted, here = counted[counted], here[here]
    values = contrast.info_nce(rows, columns, own, counted, temperature)
    return (values * here).sum() / total


def alignment_and_uniformity(
    user: torch.Tensor, positive: torch.Tensor, items: torch.Tensor, nodes: BatchNodes, weight: float
) -> torch.Tensor:
    """The loss of DirectAU, ``alignment + weight * (uniformity of users + of items) / 2``: this worker's share.

    Args:
        user: (B, d) of this worker's pairs.
        positive: (B, d).
        items: (I, d), equal on all workers.
        nodes: of the whole batch.
        weight: gamma of the paper.
    """
    aligned = contrast.alignment(user, positive).sum() / nodes.size
    if nodes.size == 1:  # uniformity needs two pairs
        return aligned
    pairs = nodes.size * (nodes.size - 1)
    columns = gather_rows(user, nodes.positions, nodes.size), items.index_select(0, nodes.items)
    spread = aligned.new_zeros(())
    for rows, others in ((user, columns[0]), (positive, columns[1])):
        # A row is one of the columns too, at distance 0; that pair does not count.
        part = contrast.kernel_sums(rows, others).sum() - len(rows)
        spread = spread + of_total(part, lambda total: (total.clamp(min=1e-12) / pairs).log())
    return aligned + weight * spread / 2.0
