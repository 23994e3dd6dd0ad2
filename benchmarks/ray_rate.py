"""The rate of a chain of Ray Data maps once its processes are warm."""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["WARM_BLOCKS", "rate_under_ray"]

WARM_BLOCKS = 5
"""The first starts the actors; the others go through together, and start the processes that a busy pipeline has."""

_POLL_S = 0.02


def rate_under_ray(
    requests: pa.Table, block: int, chain: Callable[[Dataset], Dataset], count: Callable[[pa.Table], int]
) -> float:
    """Units per second, from the moment at which all but the warming blocks may enter to the end of the last.

    The others wait in front while the warming blocks go through, so that no work on them goes uncounted.

    Args:
        requests: with the column ``id``.
        block: rows of a block.
        chain: what is measured.
        count: units in a block that comes out.
    """
    import ray.data

    if len(requests) <= WARM_BLOCKS * block:
        sys.exit(f"{len(requests)} rows are too few: {WARM_BLOCKS} blocks of {block} warm the pipeline")

    starts = requests["id"].to_pylist()[: block * WARM_BLOCKS : block]
    with tempfile.TemporaryDirectory() as folder:
        rows = ray.data.from_arrow(requests).repartition(target_num_rows_per_block=block)
        waiting = rows.map_batches(
            functools.partial(_wait, folder, starts),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.TaskPoolStrategy(size=1),  # more would be more processes that are not warm
        )
        units, finished, started = 0, 0, 0.0
        # Without a prefetch: it would wait for the second block before it shows the first.
        for done in chain(waiting).iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            if not done.num_rows:
                continue
            finished += 1
            if finished > WARM_BLOCKS:
                units += count(done)
                continue
            started = time.monotonic()
            Path(folder, str(finished)).touch()
        return round(units / (time.monotonic() - started), 1)


def _wait(folder: str, starts: list[int], rows: pa.Table) -> pa.Table:
    """Hold a block back until enough others have come out; ``starts`` are the first ids of the warming ones."""
    first = rows["id"][0].as_py() if rows.num_rows else starts[0]
    if first != starts[0]:
        opened = Path(folder, "1" if first in starts else str(WARM_BLOCKS))
        while not opened.exists():
            time.sleep(_POLL_S)
    return rows
