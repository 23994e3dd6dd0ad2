"""Map numbered blocks of users or items by Ray Data; each worker reads its inputs once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa

from hnlm_ray.cluster.heartbeat import heartbeat, rate_line
from hnlm_ray.cluster.maps import mapped
from hnlm_ray.run.progress import Say

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["mapped_blocks", "table_of_blocks"]

_BLOCKS_PER_WORKER = 4
"""A worker takes seconds to start, so it should have more than one block to do."""

_BLOCK = pa.field("_block", pa.int32())

Work = Callable[[int], pa.Table]


def table_of_blocks(make: Callable[[], Work], blocks: int, schema: pa.Schema, what: str, say: Say) -> pa.Table:
    """The tables of all blocks, in any order, as one.

    Args:
        make: as for :func:`mapped_blocks`, like ``blocks``.
        blocks: how many there are.
        schema: of the tables.
        what: name of the work, for messages.
        say: called with how many blocks are done, now and then.
    """
    found, counted = [schema.empty_table()], pa.schema([*schema, _BLOCK])
    numbers: set[int] = set()
    dataset = mapped_blocks(functools.partial(_numbered, make), blocks)
    with heartbeat(rate_line(what, blocks, lambda: len(numbers), "blocks"), say):
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            rows = table.cast(counted)
            numbers.update(rows[_BLOCK.name].unique().to_pylist())
            found.append(rows.drop_columns(_BLOCK.name))
    return pa.concat_tables(found)


def _numbered(make: Callable[[], Work]) -> Work:
    """Work whose tables have the number of their block in a column."""
    work = make()

    def numbered(block: int) -> pa.Table:
        table = work(block)
        return table.append_column(_BLOCK, pa.repeat(pa.scalar(block, _BLOCK.type), table.num_rows))

    return numbered


def mapped_blocks(make: Callable[[], Work], blocks: int) -> Dataset:
    """The rows of all blocks as a lazy data set.

    Args:
        make: called once in each worker; gives the function from the number of a block to its table.
        blocks: how many there are.
    """
    import ray

    workers = int(min(-(-blocks // _BLOCKS_PER_WORKER), ray.cluster_resources().get("CPU", 1.0)))
    return mapped(
        ray.data.range(blocks, override_num_blocks=min(blocks, 200)),
        _Worker,
        batch_size=1,
        fn_constructor_args=(make,),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, workers)),
        num_cpus=1,
    )


class _Worker:
    def __init__(self, make: Callable[[], Work]) -> None:
        self._work = make()

    def __call__(self, batch: pa.Table) -> pa.Table:
        return pa.concat_tables([self._work(block) for block in batch["id"].to_pylist()])
