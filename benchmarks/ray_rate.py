"""The rate of a chain of Ray Data maps once its actors are warm."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["rate_under_ray"]

_POLL_S = 0.02


def rate_under_ray(
    requests: pa.Table, block: int, chain: Callable[[Dataset], Dataset], count: Callable[[pa.Table], int]
) -> float:
    """Units per second, from the moment at which all but the first block may enter to the end of the last.

    The first block starts and warms the actors; the others wait for it, so that no work on them goes uncounted.

    Args:
        requests: with the column ``id``.
        block: rows of a block.
        chain: what is measured.
        count: units in a block that comes out.
    """
    import ray.data

    first = requests["id"][:block].to_pylist()
    with tempfile.TemporaryDirectory() as folder:
        gate = Path(folder, "open")
        rows = ray.data.from_arrow(requests).repartition(target_num_rows_per_block=block)
        waiting = rows.map_batches(
            functools.partial(_pass, gate, first[0], first[-1]), batch_size=None, batch_format="pyarrow", num_cpus=0
        )
        units, started = 0, 0.0
        for done in chain(waiting).iter_batches(batch_size=None, batch_format="pyarrow"):
            if not done.num_rows:
                continue
            if started:
                units += count(done)
            else:
                gate.touch()
                started = time.monotonic()
        return round(units / (time.monotonic() - started), 1)


def _pass(gate: Path, first: int, last: int, rows: pa.Table) -> pa.Table:
    """Hold back every block but the one whose ids reach from ``first`` to ``last``."""
    ids = rows["id"]
    if len(ids) and (ids[0].as_py(), ids[-1].as_py()) != (first, last):
        while not gate.exists():
            time.sleep(_POLL_S)
    return rows
