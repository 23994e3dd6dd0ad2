"""Writes rankings and held-out items in the formats of trec_eval, from which other tools compute metrics.

A line of a run is ``user Q0 item rank score tag``, a line of the held-out items (qrels) ``user 0 item 1``. The scores
are not those of the model but fall with the rank, from the depth to 1: trec_eval orders by score and breaks ties by the
name of the item, so tied scores would change the order that was measured.

Ids are those of the data. White space, control characters and ``%`` in an id would break the columns and are
percent-encoded (each UTF-8 byte as ``%`` and two hexadecimal digits); ``urllib.parse.unquote`` restores them.
"""

from __future__ import annotations

import gzip
import re
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.interactions import Interactions

__all__ = ["RUN_DEPTH", "escaped", "packed", "qrels_lines", "run_lines"]

RUN_DEPTH = 100
"""Items of each user in a run; the deepest cut-off if that is more."""

_UNSAFE = re.compile(r"[\s%\x00-\x1f\x7f]")
_COMPRESSION = 1
"""Higher levels save a fifth of the size and take longer than the ranking."""


def escaped(ids: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Ids with what would break a line percent-encoded.

    Args:
        ids: strings; one column of ``users`` or ``items``.

    Returns:
        As many strings.
    """
    return pa.array(
        [_UNSAFE.sub(lambda found: quote(found[0], safe=""), name) for name in ids.to_pylist()], pa.string()
    )


def run_lines(
    top: npt.NDArray[np.int32], users: npt.NDArray[np.int32], user_ids: pa.Array, item_ids: pa.Array, tag: str
) -> bytes:
    """Lines of a run.

    Args:
        top: (n, depth) item numbers, best first, -1 where there is none.
        users: (n,) numbers of the users.
        user_ids: escaped id of every user.
        item_ids: escaped id of every item.
        tag: name of the ranker, without white space.

    Returns:
        UTF-8 text, one line per listed item.
    """
    listed = top >= 0
    rows, ranks = np.nonzero(listed)
    names = user_ids.take(pa.array(users[rows])), item_ids.take(pa.array(top[listed]))
    places = np.arange(1, top.shape[1] + 1)
    written = (pa.array(numbers).cast(pa.string()) for numbers in (places, places[::-1].copy()))
    rank, score = (column.take(pa.array(ranks)) for column in written)
    return _text(names[0], "Q0", names[1], rank, score, tag)


def qrels_lines(relevant: Interactions, user_ids: pa.Array, item_ids: pa.Array) -> bytes:
    """Lines of the held-out items, one per interaction; ids and result as in :func:`run_lines`."""
    users, items = user_ids.take(pa.array(relevant.users)), item_ids.take(pa.array(relevant.items))
    return _text(users, "0", items, "1")


def packed(lines: bytes) -> bytes:
    """Lines as a gzip member whose bytes depend on them alone; concatenated members are a valid file."""
    return gzip.compress(lines, _COMPRESSION, mtime=0)


def _text(*columns: pa.Array | str) -> bytes:
    """Columns separated by spaces, one line per row."""
    lines = pc.binary_join_element_wise(*columns, " ").to_pylist()
    return "".join(f"{line}\n" for line in lines).encode()
