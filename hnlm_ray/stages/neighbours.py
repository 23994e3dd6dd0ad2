"""Find the nearest items of every item, by Ray Data in blocks of items."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.cluster.blocks import table_of_blocks
from hnlm_ray.cluster.connect import connected
from hnlm_ray.data.categories import category_matrix
from hnlm_ray.data.vectors import read_item_vectors
from hnlm_ray.errors import StageError
from hnlm_ray.kernels.neighbours import Nearest, nearest_by_scores, nearest_rows
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.run.stage import StageContext, StageSummary
from hnlm_ray.run.store import Artifact
from hnlm_ray.seeds import derive, generator, hash_counters
from hnlm_ray.tables import NEIGHBOURS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["run"]


@dataclass(frozen=True)
class _Task:
    """What a worker gets: where to read, not what was read."""

    inputs: Mapping[str, Artifact]
    source: str
    keep: int
    block: int
    seed: int


def run(context: StageContext, variant: str) -> StageSummary:
    """Write ``neighbours``.

    Args:
        context: with the input ``prepare`` and, unless ``variant`` is a control, the stage with the vectors.
        variant: the source, see :data:`hnlm_ray.config.graphs.NeighbourSource`.

    Raises:
        StageError: the tuned encoder wrote no vectors of items.
    """
    options = context.config.neighbours
    items = context.inputs["prepare"].read("items", ["item"]).num_rows
    task = _Task(context.inputs, variant, options.keep, options.item_block, context.config.seed)
    if variant == "tuned":
        _tuned_vectors(context.inputs["encode"], items)  # fails here, with one sentence, and not inside a worker
    context.say(f"neighbours by {variant}: {items:,} items")
    with connected(context.config.cluster):
        blocks, what = -(-items // options.item_block), f"neighbours by {variant}"
        table = table_of_blocks(functools.partial(_Worker, task), blocks, NEIGHBOURS, what, context.say)
    table = table.sort_by([("item", "ascending"), ("similarity", "descending"), ("neighbour", "ascending")])
    context.output.write("neighbours", table)
    alone = items - len(np.unique(table["item"].to_numpy()))
    return StageSummary({"neighbours": len(table)}, {"neighbours": len(table), "items_without": alone})


class _Worker:
    """One Ray Data worker; reads the vectors once."""

    def __init__(self, task: _Task) -> None:
        self._task = task
        self._items = task.inputs["prepare"].read("items", ["item", "categories"]).sort_by("item")
        self._nearest = self._finder()

    def __call__(self, block: int) -> pa.Table:
        start = block * self._task.block
        found = self._nearest(start, min(start + self._task.block, len(self._items)))
        parts = (found.rows, found.neighbours, found.similarities)
        return pa.table(dict(zip(NEIGHBOURS.names, parts, strict=True)), schema=NEIGHBOURS)

    def _finder(self) -> Callable[[int, int], Nearest]:
        task, count = self._task, len(self._items)
        if task.source == "random":
            return lambda start, stop: _at_random(start, stop, count, task.keep, task.seed)
        if task.source == "categories":
            units = category_matrix(self._items["categories"])
            # Sets of categories are often equal: a tiny random part decides between those, not the number of the item.
            tie = generator(task.seed, "neighbours", "ties").random(count).astype(np.float32) * 1e-4
            return lambda start, stop: nearest_by_scores(
                np.where((scores := (units[start:stop] @ units.T).toarray()) > 0, scores + tie, 0), start, task.keep
            )
        vectors = self._vectors(count)
        return lambda start, stop: nearest_rows(vectors, start, stop, task.keep)

    def _vectors(self, count: int) -> npt.NDArray[np.float32]:
        inputs = self._task.inputs
        if self._task.source == "tuned":
            return unit_rows(_tuned_vectors(inputs["encode"], count))
        name = "vectors" if self._task.source == "text" else f"vectors.{self._task.source}"
        return unit_rows(read_item_vectors(inputs[name], count))


def _tuned_vectors(encode: Artifact, count: int) -> npt.NDArray[np.float16]:
    """The tuned encoder's vectors (count, d) of the items."""
    if not encode.has("encoded_items"):
        what = (
            "the tuned encoder reads pairs as a whole and has no vectors of items, which item_graph.source=tuned needs"
        )
        raise StageError(what, "set tune.form=factorised")
    return read_item_vectors(encode, count, "encoded_items")


def _at_random(start: int, stop: int, count: int, keep: int, seed: int) -> Nearest:
    """Any other items as neighbours, all as near; an item that is drawn twice counts once."""
    rows = np.arange(start, stop)
    counters = rows[:, None] * keep + np.arange(keep)
    drawn = (hash_counters(derive(seed, "neighbours", "random"), counters) % np.uint64(max(count, 1))).astype(np.int64)
    keys = np.unique(np.repeat(rows, keep) * count + drawn.ravel())
    items, others = np.divmod(keys, count)
    kept = items != others
    return Nearest(items[kept].astype(np.int32), others[kept].astype(np.int32), np.ones(kept.sum(), np.float32))
