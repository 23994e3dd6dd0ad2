"""Divide interactions into train, valid and test by one of four strategies.

The strategy ``random`` draws from the user's own id, so that a user's split depends neither on other users nor on the
order of the data.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray import seeds
from hnlm_ray.config.data import SplitConfig
from hnlm_ray.errors import DataError
from hnlm_ray.kernels.runs import places_in_runs, runs_of

__all__ = ["TEST", "TRAIN", "VALID", "pairs_in_two_splits", "require_held_out", "split", "thinned"]

TRAIN, VALID, TEST = 0, 1, 2

_NAMES = {"train": TRAIN, "valid": VALID, "validation": VALID, "val": VALID, "dev": VALID, "test": TEST}

Labels = npt.NDArray[np.int8]


def split(
    config: SplitConfig,
    seed: int,
    users: npt.NDArray[np.integer],
    user_ids: npt.NDArray[np.object_],
    timestamps: npt.NDArray[np.number],
    present: npt.NDArray[np.bool_],
    given: npt.NDArray[np.object_] | None = None,
) -> Labels:
    """The split of each interaction.

    Args:
        config: the strategy and the shares of valid and test.
        seed: of the run.
        users: (n,), ascending; the rows of a user are in the order of time.
        user_ids: (n_users,) the users' own ids.
        timestamps: (n,), seconds.
        present: bool (n,), where ``timestamps`` means something.
        given: (n,) the data's own labels, for the strategy ``column``.

    Returns:
        int8 (n,): 0 train, 1 valid, 2 test.

    Raises:
        DataError: the strategy cannot be applied to this data.
    """
    if config.strategy == "random":
        return _random(config, seed, users, user_ids)
    if config.strategy == "leave_last_two":
        _check_times(present, allow_none=True, strategy="leave_last_two")
        return _leave_last_two(users)
    if config.strategy == "global_time":
        _check_times(present, allow_none=False, strategy="global_time")
        return _global_time(config, timestamps)
    return _given(given)


def thinned(
    share: float, seed: int, users: npt.NDArray[np.integer], user_ids: npt.NDArray[np.object_], labels: Labels
) -> npt.NDArray[np.bool_]:
    """Which interactions stay where a share of each user's train interactions does: bool (n,), True for those held out.

    Args:
        share: above 0, at most 1; at least one train interaction of a user stays.
        seed: of the run.
        users: (n,), ascending; the rows of a user are in the order of time.
        user_ids: (n_users,) the users' own ids.
        labels: int8 (n,), of :func:`split`.
    """
    stays: npt.NDArray[np.bool_] = labels != TRAIN
    train = np.flatnonzero(~stays)
    counts = np.bincount(users[train], minlength=len(user_ids))
    rank = _drawn_ranks(seeds.derive(seed, "thin"), users[train], user_ids, counts)
    stays[train] = rank < np.repeat(np.ceil(counts * share), counts)
    return stays


def pairs_in_two_splits(
    users: npt.NDArray[np.integer], items: npt.NDArray[np.integer], given: pa.ChunkedArray | None
) -> int:
    """How many pairs of user and item have rows in more than one split.

    Args:
        users: (n,), numbers from 0.
        items: (n,), likewise.
        given: (n,) the data's own labels; None where it has none.
    """
    if given is None:
        return 0
    labels = pc.unique(given)
    codes = pc.index_in(given, value_set=labels).to_numpy()
    pairs = users.astype(np.int64) * (int(items.max()) + 1) + items
    placed = np.unique(np.stack([pairs, codes.astype(np.int64)]), axis=1)[0]
    return int((np.unique(placed, return_counts=True)[1] > 1).sum())


def require_held_out(interactions: pa.Table, config: SplitConfig) -> None:
    """Check that there is something to choose epochs on and something to report.

    Args:
        interactions: with the columns ``user`` and ``split``.
        config: the strategy and the shares of valid and test.

    Raises:
        DataError: no interaction is valid, or none is test.
    """
    empty = [name for name in ("valid", "test") if name not in pc.unique(interactions["split"]).to_pylist()]
    if not empty:
        return
    reason, action = "", "bring more interactions, or choose another data.split.strategy"
    shares = {"valid": config.valid, "test": config.test}
    unset = [name for name in empty if shares[name] == 0.0]
    if config.strategy == "column":
        action = "label some rows of the split column with it"
    elif config.strategy in ("random", "global_time") and unset:
        reason, action = f", because data.split.{unset[0]}=0", f"raise data.split.{unset[0]}"
    elif config.strategy in ("random", "leave_last_two"):
        needed = 3 if config.strategy == "leave_last_two" else math.ceil(0.5 / min(shares[name] for name in empty))
        most = int(np.bincount(interactions["user"].to_numpy()).max())
        reason = f", because a user needs {needed} interactions for that and none has more than {most}"
        action = "bring more interactions, filter fewer, or split by global_time or by a column"
    raise DataError(f"no interaction falls into the split {' or '.join(empty)}{reason}", action)


def _random(
    config: SplitConfig, seed: int, users: npt.NDArray[np.integer], user_ids: npt.NDArray[np.object_]
) -> Labels:
    """Per user, ``round(n * test)`` rows are test and ``round(n * valid)`` valid, but at least one is train."""
    counts = runs_of(users)[1]
    rank = _drawn_ranks(seeds.derive(seed, "split"), users, user_ids, counts)
    n_test = np.minimum(np.floor(counts * config.test + 0.5), counts - 1)
    n_valid = np.minimum(np.floor(counts * config.valid + 0.5), counts - 1 - n_test)
    test, valid = np.repeat(n_test, counts), np.repeat(n_valid, counts)
    return np.where(rank < test, TEST, np.where(rank < test + valid, VALID, TRAIN)).astype(np.int8)


def _drawn_ranks(
    key: int, users: npt.NDArray[np.integer], user_ids: npt.NDArray[np.object_], counts: npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    """A random order of each user's rows, which depends on the key, the user's id and the number of the row alone."""
    own = np.array([_id_word(str(name)) for name in user_ids], dtype=np.uint64)
    place = places_in_runs(counts)
    draw = seeds.hash_counters(key, own[users] + place.astype(np.uint64))
    rank = np.empty(len(users), dtype=np.int64)
    rank[np.lexsort((draw, users))] = place
    return rank


def _leave_last_two(users: npt.NDArray[np.integer]) -> Labels:
    """The last is test and the one before it valid; users with fewer than three are all train."""
    counts = runs_of(users)[1]
    from_end = np.repeat(counts, counts) - places_in_runs(counts)
    enough = np.repeat(counts >= 3, counts)
    return np.where(enough & (from_end == 1), TEST, np.where(enough & (from_end == 2), VALID, TRAIN)).astype(np.int8)


def _global_time(config: SplitConfig, timestamps: npt.NDArray[np.number]) -> Labels:
    """Divide at two moments, the same for all users: the quantiles of time at ``1 - valid - test`` and ``1 - test``."""
    first, second = np.quantile(timestamps, [1.0 - config.valid - config.test, 1.0 - config.test], method="higher")
    if first == timestamps.min():
        raise DataError("the split global_time would leave no train interactions", "use smaller fractions")
    return np.where(timestamps >= second, TEST, np.where(timestamps >= first, VALID, TRAIN)).astype(np.int8)


def _given(given: npt.NDArray[np.object_] | None) -> Labels:
    if given is None:
        raise DataError("data.split.strategy is column and the data has no split column", "set data.columns.split")
    if empty := sum(label is None for label in given):
        raise DataError(f"{empty:,} of {len(given):,} rows of the split column are empty", "use train, valid and test")
    names, codes = np.unique(given.astype(str), return_inverse=True)
    unknown = [str(name) for name in names if name.strip().lower() not in _NAMES]
    if unknown:
        raise DataError(f"the split column holds {unknown[0]!r}", "use train, valid and test")
    return np.array([_NAMES[name.strip().lower()] for name in names], dtype=np.int8)[codes]


def _check_times(present: npt.NDArray[np.bool_], *, allow_none: bool, strategy: str) -> None:
    """Without any timestamp the order of rows may stand in for time; with some missing, nothing can."""
    if present.all() or (allow_none and not present.any()):
        return
    missing = int((~present).sum())
    raise DataError(f"the split {strategy} needs timestamps and {missing:,} interactions have none", "use random")


def _id_word(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
