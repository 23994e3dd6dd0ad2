"""Find the unseen items that users would probably like, by Ray Data in blocks of users."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hnlm_ray.cluster.blocks import table_of_blocks
from hnlm_ray.cluster.connect import connected
from hnlm_ray.config.guards import GuardConfig, GuardSource
from hnlm_ray.config.tree import TrainConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.models.blend import Blend, Teacher, guarding_weights
from hnlm_ray.models.fitted import read_ranker
from hnlm_ray.models.item_item import neighbour_votes
from hnlm_ray.models.rankers import ItemItemRanker
from hnlm_ray.run.stage import StageContext, StageKey, StageSummary, teacher_fits
from hnlm_ray.run.store import Artifact
from hnlm_ray.tables import GUARD

__all__ = ["blend_of", "run"]


@dataclass(frozen=True)
class _Task:
    """What a worker gets: where to read, not what was read."""

    inputs: Mapping[str, Artifact]
    options: GuardConfig
    train: TrainConfig


def run(context: StageContext, variant: str) -> StageSummary:
    """Write ``guard``: for every user with a train interaction, the items that the blend of teachers ranks first.

    Args:
        context: with the input ``prepare`` and the fits, neighbours and written negatives that the sources name.
        variant: the guard, a key of ``guards``.

    Raises:
        StoreError: a teacher's model is damaged or belongs to other users and items.
    """
    options = context.config.guards[variant]
    train = read_splits(context.inputs["prepare"]).train
    blend_of(
        options, context.config.train, context.inputs, train
    )  # fails here, with one sentence, and not inside a worker
    context.say(f"guard {variant}: {train.n_users:,} users, {len(options.sources)} sources")
    task = _Task(context.inputs, options, context.config.train)
    with connected(context.config.cluster):
        blocks = -(-train.n_users // options.user_block)
        table = table_of_blocks(functools.partial(_Worker, task), blocks, GUARD, f"guard {variant}", context.say)
    table = table.sort_by([("user", "ascending"), ("rank", "ascending")])
    context.output.write("guard", table)
    users = int((train.degree > 0).sum())
    return StageSummary({"guard": len(table)}, {"users": users, "guarded": len(table)})


class _Worker:
    """One Ray Data worker; reads the teachers once."""

    def __init__(self, task: _Task) -> None:
        self._options = task.options
        self._train = read_splits(task.inputs["prepare"]).train
        self._blend = blend_of(task.options, task.train, task.inputs, self._train)

    def __call__(self, block: int) -> pa.Table:
        start = block * self._options.user_block
        stop = min(start + self._options.user_block, self._train.n_users)
        items = self._blend.first(start, stop, self._options.items)
        has_history = self._train.degree[start:stop] > 0
        rows, places = np.nonzero((items >= 0) & has_history[:, None])
        ranks = places + 1
        columns = {
            "user": (rows + start).astype(np.int32),
            "item": items[rows, places],
            "rank": ranks.astype(np.int32),
            "weight": guarding_weights(ranks, self._options.decay),
        }
        return pa.table(columns, schema=GUARD)


def blend_of(options: GuardConfig, variants: TrainConfig, inputs: Mapping[str, Artifact], train: Interactions) -> Blend:
    """The teachers of a guard.

    Args:
        options: of the guard.
        variants: those that it names, and their seeds.
        inputs: artifacts by the name of the stage.
        train: the train interactions.
    """
    teachers = [teacher for source in options.sources for teacher in _teachers(source, variants, inputs, train)]
    doubted = [source.weight for source in options.sources if source.answers]
    if not doubted:
        return Blend(teachers, train, options.combine)
    return Blend(teachers, train, options.combine, _written(inputs["ground"], train), sum(doubted))


def _teachers(
    source: GuardSource, variants: TrainConfig, inputs: Mapping[str, Artifact], train: Interactions
) -> list[Teacher]:
    if source.neighbours is not None:
        table = inputs[StageKey("neighbours", source.neighbours).name].read("neighbours")
        model = neighbour_votes(table, train.n_items, source.power)
        return [Teacher(ItemItemRanker(model, train), source.weight)]
    fits = teacher_fits(variants, source)
    return [Teacher(read_ranker(inputs[key.name], train), source.weight) for key in fits]


def _written(ground: Artifact, train: Interactions) -> Interactions:
    """The items that the language model wrote as negatives of each user, and that are in the catalogue."""
    table = ground.read("grounded", ["user", "status", "negative"])
    table = table.filter(pa.compute.equal(table["status"], "matched"))
    users, items = (table[name].to_numpy().astype(np.int64) for name in ("user", "negative"))
    return Interactions.from_pairs(users, items, train.n_users, train.n_items)
