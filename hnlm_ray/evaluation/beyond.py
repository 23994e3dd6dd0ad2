"""What recommendations are like apart from being right: how popular, how novel, how similar, how evenly spread.

Popularity, novelty, intra-list distance and tie rate are values of one user each, so their means over users are the
same however users are divided into blocks. Coverage and the Gini index are values of the whole catalogue:

==================== =====================================================================================
measure              definition at ``k``, with ``L`` the items recommended to the user
==================== =====================================================================================
popularity           mean number of train interactions of ``L`` (ARP; Yin et al., VLDB 2012)
novelty              mean of ``-log2(p)`` over ``L``, ``p`` the share of users with a train interaction with
                     the item (mean self-information; Zhou et al., PNAS 2010); an item without any counts as
                     having one
intra_list_distance  ``1 -`` mean cosine of the text vectors over all pairs of ``L`` (Ziegler et al., WWW
                     2005); no value below two items
tie_rate             share of ``L`` that is ranked before the next item by item number alone, since the
                     scores of the two are equal
coverage             share of the catalogue that is recommended to at least one user
gini                 inequality of how often each item of the catalogue is recommended (Fleder and Hosanagar,
                     Management Science 2009): 0 when all equally often, ``1 - 1 / n_items`` when one item
                     takes all
==================== =====================================================================================

A user to whom nothing can be recommended has no value: NaN, left out of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.gains import check_ranking, ratio
from hnlm_ray.kernels.vectors import unit_rows

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions
    from hnlm_ray.kernels.ranking import Ranked

__all__ = [
    "Reference",
    "beyond_accuracy",
    "coverage",
    "exposure",
    "gini",
    "intra_list_distance",
    "mean_over_list",
    "tie_rate",
]

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """What recommendations are compared with, apart from the held-out items.

    Attributes:
        train: the interactions that popularity is counted in.
        text: (n_items, d) text vectors, or None where there are none.
    """

    train: Interactions
    text: npt.NDArray[np.floating] | None = None

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what :func:`beyond_accuracy` computes, in its order."""
        names = ("popularity", "novelty")
        return names if self.text is None else (*names, "intra_list_distance")

    @cached_property
    def popularity(self) -> Values:
        """Train interactions of each item: (n_items,)."""
        return self.train.item_popularity.astype(np.float64)

    @cached_property
    def self_information(self) -> Values:
        """``-log2`` of the share of users of each item, in bits: (n_items,)."""
        information: Values = np.log2(self.train.n_users) - np.log2(np.maximum(self.popularity, 1.0))
        return information

    @cached_property
    def directions(self) -> npt.NDArray[np.float32]:
        """The text vectors at unit length (float16 leaves them slightly off it); an absent text stays 0."""
        if self.text is None:
            raise ValueError("this reference has no text vectors")
        return unit_rows(self.text)


def beyond_accuracy(top: npt.NDArray[np.int32], reference: Reference, cutoffs: Sequence[int]) -> list[Values]:
    """Every measure of ``reference.measures`` at every cut-off.

    Args:
        top: (B, at least the deepest cut-off) item numbers, -1 where there is none.
        reference: of all users and items.
        cutoffs: where to measure.

    Returns:
        (B,) float64 each, measure-major.

    Raises:
        ValueError: a user has an item twice, or one that does not exist.
    """
    check_ranking(top[:, : max(cutoffs)], reference.train.n_items)
    values = [mean_over_list(top, reference.popularity, k) for k in cutoffs]
    values += [mean_over_list(top, reference.self_information, k) for k in cutoffs]
    if reference.text is not None:
        distances = intra_list_distance(top, reference.directions, cutoffs)
        values += [distances[k] for k in cutoffs]
    return values


def tie_rate(ranked: Ranked, k: int) -> Values:
    """Share of a user's first ``k`` recommendations that equal the next item in score.

    Args:
        ranked: at least ``k`` deep.
        k: the cut-off.

    Returns:
        (B,) float64.
    """
    return ratio(ranked.tied[:, :k].sum(axis=1), (ranked.items[:, :k] >= 0).sum(axis=1))


def mean_over_list(top: npt.NDArray[np.int32], of_item: Values, k: int) -> Values:
    """Mean of a property of items over each user's list.

    Args:
        top: (B, at least k) item numbers, -1 where there is none.
        of_item: (n_items,) the property.
        k: the cut-off.

    Returns:
        (B,) float64.
    """
    items = top[:, :k]
    listed = items >= 0
    return ratio(np.where(listed, of_item[items], 0.0).sum(axis=1), listed.sum(axis=1))


def intra_list_distance(
    top: npt.NDArray[np.int32], directions: npt.NDArray[np.float32], cutoffs: Sequence[int]
) -> dict[int, Values]:
    """One minus the mean cosine over all pairs of each user's list.

    The cosines of all pairs come from the length of the sum of the vectors, ``|sum v|^2 = sum |v|^2 + 2 * pairs``, so
    the work grows with the list and not with its square.

    Args:
        top: (B, at least the deepest cut-off) item numbers, -1 where there is none.
        directions: (n_items, d) of unit length, or 0.
        cutoffs: where to measure.

    Returns:
        (B,) float64 by cut-off.
    """
    sums = np.zeros((len(top), directions.shape[1]))
    own, listed = np.zeros(len(top)), np.zeros(len(top), dtype=np.int64)
    lengths = np.square(directions, dtype=np.float64).sum(axis=1)
    distances = {}
    for rank in range(max(cutoffs)):
        items = top[:, rank]
        real = items >= 0
        sums[real] += directions[items[real]]
        own[real] += lengths[items[real]]
        listed += real
        if rank + 1 in cutoffs:
            pairs = np.square(sums).sum(axis=1) - own
            distances[rank + 1] = 1.0 - ratio(pairs, listed * (listed - 1))
    return distances


def exposure(top: npt.NDArray[np.int32], n_items: int, k: int) -> npt.NDArray[np.int64]:
    """How often each item of the catalogue is recommended.

    Args:
        top: (users, at least k) item numbers, -1 where there is none.
        n_items: size of the catalogue.
        k: the cut-off.

    Returns:
        (n_items,) int64.

    Raises:
        ValueError: a user has an item twice, or one that does not exist.
    """
    listed = top[:, :k]
    check_ranking(listed, n_items)
    return np.bincount(listed[listed >= 0], minlength=n_items)


def coverage(exposures: npt.NDArray[np.int64]) -> float:
    """Share of the catalogue that is recommended at all, from the (n_items,) counts of :func:`exposure`."""
    return float(np.count_nonzero(exposures) / len(exposures))


def gini(exposures: npt.NDArray[np.int64]) -> float:
    """Gini index of the exposure of items, over the whole catalogue.

    Args:
        exposures: (n_items,) counts of :func:`exposure`.

    Returns:
        ``sum((2 i - n - 1) x_i) / (n sum(x))`` with ``x`` the exposures in ascending order, ``i`` from 1; NaN when
        nothing is recommended.
    """
    n_items, total = len(exposures), int(exposures.sum())
    if not total:
        return float("nan")
    weights = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float(int(weights @ np.sort(exposures)) / (n_items * total))
