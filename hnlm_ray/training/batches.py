"""The order of training: which pairs form a batch, over all workers.

An epoch is a sequence of places, each with one train pair, cut into global batches. The pair at a place derives from
the seed and the epoch, and a worker takes the places whose users are its own, so that the batches are the same for any
number of workers. Pairs of a user who has seen every item are left out: there is no negative for them.

Backbones that read histories in order get the users one after another, each with the next items of one window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hnlm_ray import seeds
from hnlm_ray.data.histories import Histories
from hnlm_ray.kernels.runs import places_in_runs
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.tables import pair_id
from hnlm_ray.training.shard import Shard

__all__ = ["Batch", "BatchStream"]

_Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """This worker's part of one global batch; may be empty.

    Attributes:
        users: (B,) int64, inside the worker's block.
        items: (B,) int64, the positives.
        places: (B,) int64, ascending, in the epoch.
        hard_rows: (B,) int32, the row of the pair's semantic vector or -1.
        step: of the batch in the epoch, from 0.
        first_place: of the batch.
        global_size: pairs of the batch over all workers.
        targets: (B,) int64, the places of the pairs in the histories; None without histories.
    """

    users: _Numbers
    items: _Numbers
    places: _Numbers
    hard_rows: npt.NDArray[np.int32]
    step: int
    first_place: int
    global_size: int
    targets: _Numbers | None = None


class BatchStream:
    """The batches of every epoch.

    Attributes:
        n_pairs: pairs of an epoch, over all workers.
        pairs_with_vector: train pairs of this worker that have a semantic vector.
    """

    def __init__(
        self,
        shard: Shard,
        vectors: PairVectors | None,
        seed: int,
        batch_size: int,
        positives: Literal["interaction", "user"] = "interaction",
        window: tuple[Histories, int] | None = None,
    ) -> None:
        """Prepare the batches of a worker.

        Args:
            shard: its users.
            vectors: of semantic negatives; None without them.
            seed: of the fit.
            batch_size: pairs of a batch, over all workers.
            positives: see :class:`hnlm_ray.config.variants.VariantConfig`.
            window: histories of the worker's users and the length of a window, for backbones that read them: an epoch
                has the latest ``length`` interactions of each user that are not the first one.
        """
        self._shard = shard
        self._seed = seed
        self._batch_size = batch_size
        self._positives = positives
        self._vectors = vectors
        self._histories = None if window is None else window[0]
        self._targets = shard.usable if window is None else np.clip(shard.usable - 1, 0, window[1])
        self.n_pairs = int(self._targets.sum())
        # A list of the usable pairs is needed only where some are left out.
        usable = shard.has_negatives
        self._usable = None if usable.all() else np.flatnonzero(usable[shard.train.users])
        self.pairs_with_vector = int((self._hard_rows(shard.train.users, shard.train.items) >= 0).sum())

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, equally many on every worker.

        Args:
            epoch: from 1.
        """
        draw = self._by_user if self._positives == "user" else self._by_interaction
        if self._histories is not None:
            draw = self._by_history
        places, pairs = draw(epoch)
        source = self._shard.train if self._histories is None else self._histories
        starts = range(0, self.n_pairs, self._batch_size)
        cuts = np.searchsorted(places, [*starts, self.n_pairs])
        for step, start in enumerate(starts):
            own = slice(cuts[step], cuts[step + 1])
            users, items = (numbers[pairs[own]].astype(np.int64) for numbers in (source.users, source.items))
            size = min(self._batch_size, self.n_pairs - start)
            targets = None if self._histories is None else pairs[own].astype(np.int64, copy=False)
            yield Batch(users, items, places[own], self._hard_rows(users, items), step, start, size, targets)

    def _by_interaction(self, epoch: int) -> tuple[_Numbers, npt.NDArray[np.integer]]:
        """This worker's places in ascending order, and the pair at each: every pair once."""
        shard = self._shard
        n_own = len(shard.train) if self._usable is None else len(self._usable)
        shuffled = seeds.generator(self._seed, "shuffle", epoch).permutation(_numbers(shard.n_pairs))
        places = np.flatnonzero((shuffled >= shard.first_pair) & (shuffled < shard.first_pair + n_own))
        own = shuffled[places] - shard.first_pair
        return places, own if self._usable is None else self._usable[own]

    def _by_user(self, epoch: int) -> tuple[_Numbers, npt.NDArray[np.integer]]:
        """As :meth:`_by_interaction`, but at each place a user drawn uniformly and one of their pairs."""
        shard, train = self._shard, self._shard.train
        active = np.flatnonzero(shard.usable)
        key = seeds.derive(self._seed, "positives", "user", epoch)
        drawn = active[seeds.uniform_integers(key, _numbers(shard.n_pairs), len(active))]
        places = np.flatnonzero((drawn >= shard.first_user) & (drawn < shard.last_user))
        users = drawn[places] - shard.first_user
        words = seeds.hash_counters(seeds.derive(self._seed, "positives", "item", epoch), places) >> np.uint64(32)
        ranks = (words * train.degree[users].astype(np.uint64)) >> np.uint64(32)
        return places, train.offsets[users] + ranks.astype(np.int64)

    def _by_history(self, epoch: int) -> tuple[_Numbers, npt.NDArray[np.integer]]:
        """As :meth:`_by_interaction`, but the users in random order, and the targets of each in order of time."""
        assert self._histories is not None
        shard = self._shard
        order = seeds.generator(self._seed, "shuffle", epoch).permutation(_numbers(shard.n_users))
        sizes = self._targets[order]
        starts = np.cumsum(sizes) - sizes
        own = (order >= shard.first_user) & (order < shard.last_user)
        users, sizes, starts = order[own] - shard.first_user, sizes[own], starts[own]
        steps = places_in_runs(sizes)
        firsts = self._histories.offsets[users + 1] - sizes
        return np.repeat(starts, sizes) + steps, np.repeat(firsts, sizes) + steps

    def _hard_rows(self, users: npt.NDArray[np.integer], items: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
        if self._vectors is None:
            return np.full(users.shape, -1, dtype=np.int32)
        numbers = users.astype(np.int64) + self._shard.first_user
        return self._vectors.lookup(pair_id(numbers, items.astype(np.int64), self._shard.train.n_items))


def _numbers(size: int) -> npt.NDArray[np.integer]:
    """0 to ``size - 1`` in the narrowest type that holds them."""
    return np.arange(size, dtype=np.int32 if size < 2**31 else np.int64)
