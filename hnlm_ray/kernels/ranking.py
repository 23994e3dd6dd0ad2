"""Exact full ranking of a block of users, with an order that never depends on the machine.

The order is score descending, then item number ascending. Ties matter: a model that has not been trained gives every
item the same score, and an order left to the sorting routine would then differ from machine to machine.

Most of the time goes into the matrix product, because the scores are read only once more: items are divided into groups
of consecutive numbers, and the best ``k`` items lie in the ``k`` groups with the best maxima (of groups with equal
maxima, in the first ones, since their items have the smaller numbers). A few per cent of the scores are left to sort.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    from hnlm_ray.kernels.incidence import Pairs

    Array = torch.Tensor | npt.NDArray[Any]

__all__ = ["Ranked", "ranked_block", "ranked_scores", "users_at_once"]

_SCORES_AT_ONCE = {"cpu": 3 << 22, "cuda": 1 << 28}
"""Scores in memory at a time. On a CPU 48 MiB of float32: twice as many were no faster; a GPU needs enough users to be
busy."""

_SMALLEST_GROUP = 32
"""Items of a group: with fewer, the maxima of groups cost more than the matrix product."""


@dataclass(frozen=True)
class Ranked:
    """The best items of a block of users.

    Attributes:
        items: (B, k) int32, best first, -1 where fewer than ``k`` unseen items remain.
        tied: (B, k) bool, whether the next item has the same score, so that the item numbers decided the order.
    """

    items: npt.NDArray[np.int32]
    tied: npt.NDArray[np.bool_]

    @classmethod
    def nothing(cls, n_users: int, k: int) -> Ranked:
        """Rankings (n_users, k) without any item."""
        return cls(np.full((n_users, k), -1, dtype=np.int32), np.zeros((n_users, k), dtype=np.bool_))


def users_at_once(n_items: int, device: str = "cpu") -> int:
    """How many users are scored in one step, which bounds memory whatever the size of a block.

    Args:
        n_items: size of the catalogue.
        device: type of the device, ``cpu`` or ``cuda``.
    """
    return max(1, _SCORES_AT_ONCE.get(device, _SCORES_AT_ONCE["cpu"]) // max(n_items, 1))


def ranked_block(user_vectors: Array, item_vectors: Array, seen: Pairs | None, k: int) -> Ranked:
    """The ``k`` best unseen items of each user by inner product.

    Args:
        user_vectors: (B, d) floating point, a tensor on any device or an array.
        item_vectors: (I, d), of the same kind.
        seen: items of each of the B users that are never recommended; None masks nothing.
        k: how many, at least 1.

    Returns:
        Arrays on the CPU. Never more than :func:`users_at_once` rows of scores exist at a time.

    Raises:
        ValueError: a score is not finite, ``k`` is below 1, or ``seen`` has other users or items than the vectors.
    """
    import torch

    users, items = (torch.as_tensor(part).detach() for part in (user_vectors, item_vectors))
    bounded = _cannot_overflow(users, items)

    def fill(start: int, stop: int, scores: torch.Tensor) -> None:
        torch.mm(users[start:stop], items.T, out=scores)
        if not bounded:
            _check_finite(scores)

    return _rank((len(users), len(items)), fill, users, seen, k)


def ranked_scores(scores: Array, seen: Pairs | None, k: int) -> Ranked:
    """The ``k`` best unseen items of each user by given scores (B, I), which are not changed.

    Otherwise as :func:`ranked_block`.
    """
    import torch

    given = torch.as_tensor(scores)
    _check_finite(given)
    return _rank(
        (given.shape[0], given.shape[1]), lambda start, stop, out: out.copy_(given[start:stop]), given, seen, k
    )


def _rank(
    shape: tuple[int, int], fill: Callable[[int, int, torch.Tensor], object], like: torch.Tensor,
    seen: Pairs | None, k: int,
) -> Ranked:  # fmt: skip
    """Rank some users at a time; ``fill`` writes the scores of a range of users in the dtype and device of ``like``."""
    n_users, n_items = shape
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    if seen is not None and (len(seen.offsets) - 1, seen.n_items) != shape:
        raise ValueError(f"scores are {shape}, seen is {(len(seen.offsets) - 1, seen.n_items)}")
    ranked = Ranked.nothing(n_users, k)
    group = _group_size(n_items, k + 1)
    # Steps of about equal size: a last step of a few users would cost a matrix product of its own.
    step = -(-n_users // max(1, -(-n_users // users_at_once(n_items, like.device.type))))
    # The last group is padded with items that are never recommended.
    buffer = like.new_empty((step, -(-n_items // group) * group))
    for start in range(0, n_users, max(step, 1)):
        stop = min(start + step, n_users)
        scores = buffer[: stop - start]
        fill(start, stop, scores[:, :n_items])
        scores[:, n_items:] = -math.inf
        if seen is not None:
            _mask(scores, seen, start)
        items, tied = _best_of(scores, group, k)
        ranked.items[start:stop, : items.shape[1]] = items.cpu().numpy()
        ranked.tied[start:stop, : tied.shape[1]] = tied.cpu().numpy()
    return ranked


def _group_size(n_items: int, depth: int) -> int:
    """The power of two that makes the number of groups and the items of ``depth`` groups about equal."""
    return max(_SMALLEST_GROUP, 1 << math.ceil(math.log2(max(n_items / depth, 1.0)) / 2))


def _cannot_overflow(users: torch.Tensor, items: torch.Tensor) -> bool:
    """Whether the largest entries of the vectors prove every score finite; False if an entry is not finite itself."""
    import torch

    reach = float(users.shape[1])
    for part in (users, items):
        reach *= max(abs(float(end)) for end in torch.aminmax(part)) if part.numel() else 0.0
    return reach < torch.finfo(users.dtype).max / 2  # half, since sums are rounded


def _check_finite(scores: torch.Tensor) -> None:
    import torch

    if not torch.isfinite(scores).all():
        raise ValueError("scores hold values that are not finite")


def _mask(scores: torch.Tensor, seen: Pairs, first: int) -> None:
    """Set what the users from ``first`` on have seen to -inf, in place."""
    import torch

    offsets = seen.offsets[first : first + len(scores) + 1]
    rows = np.repeat(np.arange(len(scores)) * scores.shape[1], np.diff(offsets))
    cells = torch.from_numpy(rows + seen.items[offsets[0] : offsets[-1]])
    scores.view(-1).index_fill_(0, cells.to(scores.device), -math.inf)


def _best_of(scores: torch.Tensor, group: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Items (B, at most k), -1 where masked, and whether each has the score of the next (B, at most k)."""
    groups = scores.view(len(scores), -1, group)
    chosen = _best(groups.amax(dim=2), k + 1)  # one more than k, to see whether the last place is tied
    candidates = groups.gather(1, chosen.unsqueeze(2).expand(-1, -1, group)).flatten(1)
    places = _best(candidates, k + 1)
    # Candidates stand in ascending order of their items, so a stable sort leaves ties in that order.
    values, order = candidates.gather(1, places).sort(dim=1, descending=True, stable=True)
    places = places.gather(1, order)
    items = chosen.gather(1, places // group) * group + places % group
    tied = (values[:, :-1] == values[:, 1:]) & (values[:, 1:] > -math.inf)
    return items.masked_fill(values == -math.inf, -1)[:, :k], tied


def _best(values: torch.Tensor, width: int) -> torch.Tensor:
    """Positions of the largest values, ascending; of equal values the first positions: (B, width) int64.

    Values of -inf are masked, so it does not matter which of them are taken.
    """
    import torch

    n_places = values.shape[1]
    if width >= n_places:
        return torch.arange(n_places, device=values.device).expand(len(values), n_places)
    top = values.topk(width + 1, dim=1)
    places = top.indices[:, :width].sort(dim=1).values
    threshold, beyond = top.values[:, width - 1 : width], top.values[:, width:]
    cut = ((threshold == beyond) & (beyond > -math.inf)).squeeze(1).nonzero().squeeze(1)
    if len(cut):
        places[cut] = _first_of_equal(values[cut], threshold[cut], width)
    return places


def _first_of_equal(values: torch.Tensor, threshold: torch.Tensor, width: int) -> torch.Tensor:
    """As :func:`_best`, where more than ``width`` values reach the threshold (B, 1) of each row."""
    import torch

    above, equal = values > threshold, values == threshold
    room = width - above.sum(dim=1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= room))
    return chosen.nonzero()[:, 1].view(len(values), width)
