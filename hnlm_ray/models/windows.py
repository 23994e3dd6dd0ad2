"""The latest items of users as rows of a matrix, for models that read a history in order.

A row starts with the earliest item and is padded behind the latest one, so that attention to earlier positions alone
never meets padding. Positions are counted so that the latest item of every row has the last one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnlm_ray.data.histories import Histories

__all__ = ["Windows", "latest_windows", "windows_before"]

_Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """Rows of items of S users, at most T of each.

    Attributes:
        users: (S,) int64, rows of the histories.
        items: (S, T) int64, 0 behind the last item of a row.
        positions: (S, T) int64 below the length of a window.
        chosen: int64, places in the (S * T) cells whose states are wanted.
    """

    users: _Numbers
    items: _Numbers
    positions: _Numbers
    chosen: _Numbers


def windows_before(histories: Histories, targets: _Numbers, length: int) -> Windows:
    """What users had before some of their interactions.

    A window holds the ``length`` items before the latest one of a user, whichever interactions are asked for.

    Args:
        histories: of the worker's users.
        targets: (B,) int64 interactions, places in ``histories.items``: of each user some of the latest ``length``, and
            not the first.
        length: of a window.

    Returns:
        Windows of the users of the targets, each once; ``chosen`` has the cell before each target.
    """
    users, rows = np.unique(histories.users[targets], return_inverse=True)
    stops = histories.offsets[users + 1] - 1
    starts = np.maximum(histories.offsets[users], stops - length)
    windows = _laid_out(histories, users.astype(np.int64), starts, stops, length)
    width = windows.items.shape[1]
    return Windows(windows.users, windows.items, windows.positions, rows * width + targets - 1 - starts[rows])


def latest_windows(histories: Histories, first: int, last: int, length: int) -> Windows:
    """The latest ``length`` items of users ``first`` to ``last - 1``.

    Returns:
        Windows of those users who have an item; ``chosen`` has the cell of the latest item of each.
    """
    users = first + np.flatnonzero(np.diff(histories.offsets[first : last + 1]))
    stops = histories.offsets[users + 1]
    starts = np.maximum(histories.offsets[users], stops - length)
    windows = _laid_out(histories, users, starts, stops, length)
    width = windows.items.shape[1]
    return Windows(users, windows.items, windows.positions, np.arange(len(users)) * width + stops - starts - 1)


def _laid_out(histories: Histories, users: _Numbers, starts: _Numbers, stops: _Numbers, length: int) -> Windows:
    sizes = (stops - starts)[:, None]
    columns = np.arange(sizes.max(initial=1))
    places = np.where(columns < sizes, starts[:, None] + columns, 0)
    items = histories.items[places].astype(np.int64) if len(users) else np.zeros(places.shape, np.int64)
    positions = np.minimum(length - sizes + columns, length - 1)
    return Windows(users, np.where(columns < sizes, items, 0), positions, np.empty(0, np.int64))
