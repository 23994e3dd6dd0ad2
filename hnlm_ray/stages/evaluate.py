"""Evaluation under Ray Data: every fit on every held-out user, one block of users at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.cluster import connected
from hnlm_ray.config import Config
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import ConfigError, StageError
from hnlm_ray.evaluation.blocks import (
    BlockResult,
    Evaluation,
    HeldOut,
    RandomRanker,
    Ranker,
    evaluate_block,
    merge,
    popularity_ranker,
)
from hnlm_ray.evaluation.false_negatives import hardest_of_rate, nearest_items, pairs_rate, weighted_rate
from hnlm_ray.evaluation.inputs import read_held_out, read_ranker, read_text_vectors, read_truth, read_vectors
from hnlm_ray.evaluation.metrics import METRICS, SELECTION_CUTOFF
from hnlm_ray.stage import StageContext, StageSummary
from hnlm_ray.store import Artifact
from hnlm_ray.tables import FALSE_NEGATIVES, USER_METRICS
from hnlm_ray.tables import METRICS as METRICS_TABLE

if TYPE_CHECKING:
    import ray.data

__all__ = ["run"]

_REFERENCES = ("popularity", "random")
"""Rankers that need no training and show what the figures mean."""

_DNS_CANDIDATES = 8
_UNITS_PER_WORKER = 4
"""A worker takes seconds to start, so it should have more than one block to do."""


def run(context: StageContext) -> StageSummary:
    """Evaluate every fit and two reference rankers; on a generated world, measure false negatives too.

    Reads ``prepare``, every ``train.<variant>.s<seed>`` and, where they exist, ``ground`` and ``vectors``. Writes
    ``metrics``, ``user_metrics`` and, where ``prepare`` has the truth, ``false_negatives``.

    Raises:
        ConfigError: a variant has the name of a reference ranker.
        StoreError: a fit lacks its vectors, or they do not belong to these users and items.
        StageError: there is nothing to evaluate on, or a block of users was lost.
    """
    plan = _plan(context)
    splits = read_held_out(plan.prepare)
    _check(plan, splits)
    with connected(context.config.cluster):
        results = _evaluate_all(plan, splits)
    written = {
        "metrics": _metrics_table(results, plan.cutoffs),
        "user_metrics": _user_metrics_table(results),
    }
    if plan.prepare.has("truth"):
        written["false_negatives"] = _false_negatives(context, plan, splits["valid"].seen)
    for name, table in written.items():
        context.output.write(name, table)
    context.say(f"evaluated {len(plan.fits)} fits on {len(splits['test'].relevant.items)} held-out test interactions")
    users = {f"{name}_users": int((split.relevant.degree > 0).sum()) for name, split in splits.items()}
    return StageSummary({name: len(table) for name, table in written.items()}, users)


@dataclass(frozen=True)
class _Plan:
    """What a worker needs to find its part; small, since it travels to every worker."""

    prepare: Artifact
    fits: tuple[tuple[str, int, Artifact], ...]  # variant, seed, artefact
    cutoffs: tuple[int, ...]
    user_block: int
    seed: int

    @property
    def rankers(self) -> tuple[tuple[str, int | None], ...]:
        """Variant and seed of everything to evaluate; a reference ranker has no seed."""
        return (*((variant, seed) for variant, seed, _ in self.fits), *((name, None) for name in _REFERENCES))

    def ranker(self, index: int, train: Interactions) -> Ranker:
        """Load the ranker of a number."""
        variant, _ = self.rankers[index]
        if index < len(self.fits):
            return read_ranker(self.fits[index][2], train)
        return popularity_ranker(train) if variant == "popularity" else RandomRanker(self.seed)


def _plan(context: StageContext) -> _Plan:
    config = context.config
    taken = [name for name in config.train.variants if name in _REFERENCES]
    if taken:
        raise ConfigError(f"train.variants has {taken[0]!r}, the name of a reference ranker", "rename the variant")
    fits = tuple(
        (variant, seed, context.inputs[f"train.{variant}.s{seed}"])
        for variant in config.train.variants
        for seed in config.train.seeds_of(variant)
    )
    cutoffs = tuple(sorted({*config.evaluate.cutoffs, SELECTION_CUTOFF}))
    return _Plan(context.inputs["prepare"], fits, cutoffs, config.evaluate.user_block, config.seed)


def _check(plan: _Plan, splits: Mapping[str, HeldOut]) -> None:
    """Fail here, with one sentence, and not inside a worker."""
    train = splits["valid"].seen
    for split in splits.values():
        if not len(split.relevant.items):
            raise StageError(f"the {split.name} split is empty", "raise data.split.valid and data.split.test")
    for index in range(len(plan.fits)):
        plan.ranker(index, train)


class _Worker:
    """One Ray Data worker: reads the held-out interactions once, and each fit when its first block comes."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._splits = read_held_out(plan.prepare)
        self._loaded: tuple[int, Ranker] | None = None

    def __call__(self, batch: dict[str, npt.NDArray[np.int64]]) -> pa.Table:
        return pa.concat_tables([self._unit(int(unit)) for unit in batch["id"]])

    def _unit(self, unit: int) -> pa.Table:
        train = self._splits["valid"].seen
        index, block = divmod(unit, _blocks(train.n_users, self._plan.user_block))
        if self._loaded is None or self._loaded[0] != index:
            self._loaded = (index, self._plan.ranker(index, train))
        start = block * self._plan.user_block
        stop = min(start + self._plan.user_block, train.n_users)
        rows = []
        for name, split in self._splits.items():
            result = evaluate_block(self._loaded[1], split, start, stop, self._plan.cutoffs)
            flat = {"users": result.users, "values": result.values.ravel(), "top": result.top.ravel()}
            rows.append({"ranker": index, "split": name, **flat})
        return pa.Table.from_pylist(rows, schema=_RESULT)


_RESULT = pa.schema(
    {
        "ranker": pa.int32(),
        "split": pa.string(),
        "users": pa.list_(pa.int32()),
        "values": pa.list_(pa.float64()),
        "top": pa.list_(pa.int32()),
    }
)


def _blocks(n_users: int, user_block: int) -> int:
    return -(-n_users // user_block)


def _evaluate_all(plan: _Plan, splits: Mapping[str, HeldOut]) -> dict[tuple[str, int | None, str], Evaluation]:
    """Every ranker on every split, by variant, seed and split."""
    dataset = _dataset(plan, len(plan.rankers) * _blocks(splits["test"].relevant.n_users, plan.user_block))
    blocks: dict[tuple[int, str], list[BlockResult]] = {}
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in table.to_batches():
            _collect(row, len(METRICS) * len(plan.cutoffs), blocks)
    evaluations = {}
    for index, (variant, seed) in enumerate(plan.rankers):
        for name, split in splits.items():
            try:
                merged = merge(blocks.get((index, name), []), split, plan.cutoffs)
            except ValueError as error:
                raise StageError(f"{variant}: {error}", "run evaluate again") from error
            evaluations[variant, seed, name] = merged
    return evaluations


def _dataset(plan: _Plan, units: int) -> ray.data.Dataset:
    import ray

    workers = int(min(-(-units // _UNITS_PER_WORKER), ray.cluster_resources().get("CPU", 1.0)))
    return ray.data.range(units, override_num_blocks=min(units, 200)).map_batches(
        _Worker,
        batch_size=1,
        batch_format="numpy",
        fn_constructor_args=(plan,),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, workers)),
        num_cpus=1,
    )


def _collect(batch: pa.RecordBatch, width: int, blocks: dict[tuple[int, str], list[BlockResult]]) -> None:
    columns: dict[str, Any] = {name: batch.column(name) for name in _RESULT.names}
    for row in range(batch.num_rows):
        users, values, top = (columns[name][row].values.to_numpy() for name in ("users", "values", "top"))
        result = BlockResult(users, values.reshape(-1, width), top.reshape(len(users), -1) if len(users) else top)
        blocks.setdefault((columns["ranker"][row].as_py(), columns["split"][row].as_py()), []).append(result)


def _metrics_table(results: Mapping[tuple[str, int | None, str], Evaluation], cutoffs: Sequence[int]) -> pa.Table:
    rows = []
    for (variant, seed, split), evaluation in results.items():
        key = {"variant": variant, "seed": seed, "split": split}
        for k in cutoffs:
            rows += [{**key, "metric": name, "k": k, "value": evaluation.mean(name, k)} for name in METRICS]
            rows.append({**key, "metric": "coverage", "k": k, "value": evaluation.coverage[k]})
    return pa.Table.from_pylist(rows, schema=METRICS_TABLE)


def _user_metrics_table(results: Mapping[tuple[str, int | None, str], Evaluation]) -> pa.Table:
    parts = []
    for (variant, seed, split), evaluation in results.items():
        if split != "test" or seed is None:
            continue
        n = len(evaluation.users)
        columns = [
            pa.array([variant] * n, pa.string()),
            pa.array(np.full(n, seed, dtype=np.int32)),
            pa.array(evaluation.users),
            pa.array(evaluation.per_user["recall", SELECTION_CUTOFF]),
            pa.array(evaluation.per_user["ndcg", SELECTION_CUTOFF]),
        ]
        parts.append(pa.Table.from_arrays(columns, schema=USER_METRICS))
    return pa.concat_tables(parts)


def _false_negatives(context: StageContext, plan: _Plan, train: Interactions) -> pa.Table:
    truth = read_truth(plan.prepare, train)
    pairs = len(train.items)
    rows = [
        ("uniform", weighted_rate(truth, train, np.ones(train.n_items)), pairs),
        ("popularity", weighted_rate(truth, train, train.item_popularity), pairs),
    ]
    uniform = _uniform_fit(context.config, plan)
    if uniform is not None:
        model = read_vectors(uniform, train.n_users, train.n_items)
        rate = hardest_of_rate(truth, train, model.user_vectors, model.item_vectors, _DNS_CANDIDATES)
        rows.append((f"dns-{_DNS_CANDIDATES}", rate, pairs))
    if "vectors" in context.inputs:
        nearest = nearest_items(train, read_text_vectors(context.inputs["vectors"], train.n_items))
        found = nearest >= 0
        rows.append(("nearest text", pairs_rate(truth, train.users[found], nearest[found]), int(found.sum())))
    if "ground" in context.inputs:
        grounded = context.inputs["ground"].read("grounded", ["user", "status", "negative"])
        matched = grounded.filter(pc.equal(grounded["status"], "matched"))
        rate = pairs_rate(truth, matched["user"].to_numpy(), matched["negative"].to_numpy())
        rows.append(("language model", rate, len(matched)))
    columns = dict(zip(FALSE_NEGATIVES.names, zip(*rows, strict=True), strict=True))
    return pa.table({name: list(column) for name, column in columns.items()}, schema=FALSE_NEGATIVES)


def _uniform_fit(config: Config, plan: _Plan) -> Artifact | None:
    """The first fit of a variant with uniform negatives and nothing else."""
    for variant, _, artifact in plan.fits:
        options = config.train.variants[variant]
        if options.is_trained and options.sampler.name == "uniform" and not options.semantic:
            return artifact
    return None
