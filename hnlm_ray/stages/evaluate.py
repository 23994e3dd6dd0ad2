"""Evaluation under Ray Data: every fit on every held-out user, one block of users at a time."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hnlm_ray.cluster.blocks import mapped_blocks
from hnlm_ray.cluster.connect import connected
from hnlm_ray.cluster.heartbeat import heartbeat, rate_line
from hnlm_ray.config.tree import REFERENCE_RANKERS, SELECTION_CUTOFF
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.vectors import read_item_vectors
from hnlm_ray.errors import StageError
from hnlm_ray.evaluation import trec
from hnlm_ray.evaluation.beyond import Reference
from hnlm_ray.evaluation.blocks import (
    BlockResult,
    HeldOut,
    evaluate_block,
    measures,
    merge,
)
from hnlm_ray.evaluation.guard_likes import guard_likes
from hnlm_ray.evaluation.inputs import read_held_out, read_truth
from hnlm_ray.evaluation.outcome import metrics_table, strata_table, user_metrics_table
from hnlm_ray.evaluation.rate_table import rate_table
from hnlm_ray.evaluation.strata import strata
from hnlm_ray.models.fitted import read_rankers, training_vectors
from hnlm_ray.models.rankers import RandomRanker, Ranker, popularity_ranker
from hnlm_ray.run.stage import StageContext, StageKey, StageSummary, first_fit
from hnlm_ray.run.store import Artifact
from hnlm_ray.tuning.candidates import Knowledge
from hnlm_ray.tuning.supervision import MATCHED_COLUMNS, items_by_strategy

if TYPE_CHECKING:
    pass

__all__ = ["run"]


def run(context: StageContext) -> StageSummary:
    """Evaluate every fit and two reference rankers; on a generated world, measure false negatives and guards too.

    Reads ``prepare``, every ``train.<variant>.s<seed>`` and, where they exist, ``ground``, ``vectors`` and the guards.
    Writes ``metrics``, ``user_metrics``, ``strata`` and, where ``prepare`` has the truth, ``false_negatives`` and, for
    guards, ``guard_likes``; with ``evaluate.trec``, the test rankings of each fit and the held-out items of the test
    split as TREC files.

    Raises:
        StoreError: a fit lacks its vectors, or they do not belong to these users and items.
        StageError: there is nothing to evaluate on, or a block of users was lost.
    """
    plan = _plan(context)
    splits = read_held_out(plan.prepare)
    _check(plan, splits)
    if plan.depth:
        lines = trec.qrels_lines(splits["test"].relevant, *_ids(plan.prepare))
        context.output.write_bytes("qrels.test.txt.gz", trec.packed(lines))
        context.output.folder("runs").create()
    with connected(context.config.cluster):
        written = _evaluate_all(context, plan, splits)
    if plan.prepare.has("truth"):
        train = splits["valid"].seen
        written["false_negatives"] = _false_negatives(context, train)
        if guards := _guards(context):
            written["guard_likes"] = guard_likes(guards, read_truth(plan.prepare, train), train)
    for name, table in written.items():
        context.output.write(name, table)
    context.say(f"evaluated {len(plan.fits)} fits on {len(splits['test'].relevant.items)} held-out test interactions")
    users = {f"{name}_users": int((split.relevant.degree > 0).sum()) for name, split in splits.items()}
    return StageSummary({name: len(table) for name, table in written.items()}, users)


def _false_negatives(context: StageContext, train: Interactions) -> pa.Table:
    """The table ``false_negatives`` of a generated world; it holds the supervision where there is a teacher."""
    config, inputs = context.config, context.inputs
    name = config.teacher
    if name is None:
        return rate_table(config, inputs, train)
    is_cosine = config.train.variants[name].loss.is_cosine
    teacher = training_vectors(inputs[first_fit(config.train, name).name], train, is_cosine=is_cosine)
    if "vectors" not in inputs:
        return rate_table(config, inputs, train, teacher)
    knowledge = Knowledge(train, *teacher, read_item_vectors(inputs["vectors"], train.n_items))
    grounded = inputs["ground"].read("grounded", MATCHED_COLUMNS) if "ground" in inputs else None
    supervision = items_by_strategy(knowledge, config.tune.supervision, config.seed, grounded)
    return rate_table(config, inputs, train, teacher, supervision)


def _guards(context: StageContext) -> dict[str, pa.Table]:
    """The guards that variants use, by name."""
    keys = {name: StageKey("guard", name).name for name in context.config.guards}
    return {name: context.inputs[key].read("guard") for name, key in keys.items() if key in context.inputs}


@dataclass(frozen=True)
class _Plan:
    """What a worker needs to find its part; small, since it travels to every worker."""

    prepare: Artifact
    fits: tuple[tuple[str, int, Artifact], ...]  # variant, seed, artefact
    cutoffs: tuple[int, ...]
    user_block: int
    seed: int
    depth: int  # of the rankings that are written; 0 writes none
    vectors: Artifact | None

    @property
    def rankers(self) -> tuple[tuple[str, int | None], ...]:
        """Variant and seed of everything to evaluate; a reference ranker has no seed."""
        return (*((variant, seed) for variant, seed, _ in self.fits), *((name, None) for name in REFERENCE_RANKERS))

    def reference(self, train: Interactions) -> Reference:
        """Load what recommendations are compared with."""
        return Reference(train, read_item_vectors(self.vectors, train.n_items) if self.vectors else None)

    def by_split(self, index: int, train: Interactions) -> dict[str, Ranker]:
        """Load the ranker of a number for each split."""
        variant, _ = self.rankers[index]
        if index < len(self.fits):
            return dict(zip(("valid", "test"), read_rankers(self.fits[index][2], train), strict=True))
        ranker: Ranker = popularity_ranker(train) if variant == "popularity" else RandomRanker(self.seed)
        return dict.fromkeys(("valid", "test"), ranker)


def _plan(context: StageContext) -> _Plan:
    config = context.config
    fits = tuple(
        (variant, seed, context.inputs[StageKey("train", variant, seed).name])
        for variant in config.train.variants
        for seed in config.train.seeds_of(variant)
    )
    cutoffs = tuple(sorted({*config.evaluate.cutoffs, SELECTION_CUTOFF}))
    depth = max(trec.RUN_DEPTH, *cutoffs) if config.evaluate.trec else 0
    prepare, vectors = context.inputs["prepare"], context.inputs.get("vectors")
    return _Plan(prepare, fits, cutoffs, config.evaluate.user_block, config.seed, depth, vectors)


def _ids(prepare: Artifact) -> tuple[pa.Array, pa.Array]:
    """Ids of users and of items, by number, as they stand in TREC files."""
    users, items = prepare.read("users").sort_by("user"), prepare.read("items", ["item", "item_id"]).sort_by("item")
    return trec.escaped(users["user_id"]), trec.escaped(items["item_id"])


def _check(plan: _Plan, splits: Mapping[str, HeldOut]) -> None:
    """Fail here, with one sentence, and not inside a worker."""
    train = splits["valid"].seen
    for split in splits.values():
        if not len(split.relevant.items):
            raise StageError(f"the {split.name} split is empty", "raise data.split.valid and data.split.test")
    for index in range(len(plan.fits)):
        plan.by_split(index, train)


class _Worker:
    """One Ray Data worker: reads the held-out interactions once, and each fit when its first block comes."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._splits = read_held_out(plan.prepare)
        self._reference = plan.reference(self._splits["valid"].seen)
        self._ids = _ids(plan.prepare) if plan.depth else None
        self._loaded: tuple[int, dict[str, Ranker]] | None = None

    def __call__(self, unit: int) -> pa.Table:
        """One block of users ranked by one ranker, as rows of :data:`_RESULT`."""
        train = self._reference.train
        index, block = divmod(unit, _blocks(train.n_users, self._plan.user_block))
        if self._loaded is None or self._loaded[0] != index:
            self._loaded = (index, self._plan.by_split(index, train))
        start = block * self._plan.user_block
        stop = min(start + self._plan.user_block, train.n_users)
        cutoffs, rows = self._plan.cutoffs, []
        for name, split in self._splits.items():
            depth = self._plan.depth if name == "test" and index < len(self._plan.fits) else 0
            result = evaluate_block(self._loaded[1][name], split, start, stop, cutoffs, self._reference, depth)
            flat = {"values": result.values.ravel(), "top": result.top[:, : max(cutoffs)].ravel()}
            run = self._run_file_part(index, result) if depth else None
            rows.append({"ranker": index, "split": name, "users": result.users, **flat, "run": run})
        return pa.Table.from_pylist(rows, schema=_RESULT)

    def _run_file_part(self, index: int, result: BlockResult) -> bytes | None:
        if self._ids is None or not len(result.users):
            return None
        variant, seed = self._plan.rankers[index]
        tag = trec.escaped(pa.array([f"{variant}.s{seed}"]))[0].as_py()
        return trec.packed(trec.run_lines(result.top, result.users, *self._ids, tag))


_RESULT = pa.schema(
    {
        "ranker": pa.int32(),
        "split": pa.string(),
        "users": pa.list_(pa.int32()),
        "values": pa.list_(pa.float64()),
        "top": pa.list_(pa.int32()),
        "run": pa.binary(),  # these users' part of the run file, compressed
    }
)


def _blocks(n_users: int, user_block: int) -> int:
    return -(-n_users // user_block)


_Parts = dict[str, list[tuple[BlockResult, bytes | None]]]
"""Blocks of one ranker by split."""


def _evaluate_all(context: StageContext, plan: _Plan, splits: Mapping[str, HeldOut]) -> dict[str, pa.Table]:
    """The tables of all rankers; each ranker's blocks are let go of as soon as the last one is there."""
    reference = plan.reference(splits["valid"].seen)
    n_blocks = _blocks(splits["test"].relevant.n_users, plan.user_block)
    waiting: dict[int, _Parts] = {index: {name: [] for name in splits} for index in range(len(plan.rankers))}
    done: dict[int, dict[str, pa.Table]] = {}
    width = len(measures(reference)) * len(plan.cutoffs)
    total, ranked = len(plan.rankers) * n_blocks, Counter[str]()
    dataset = mapped_blocks(functools.partial(_Worker, plan), total)
    with heartbeat(rate_line("evaluate", total, lambda: min(ranked[name] for name in splits), "blocks"), context.say):
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            for index, split, block in _unpacked(table, width):
                ranked[split] += 1
                waiting[index][split].append(block)
                if all(len(blocks) == n_blocks for blocks in waiting[index].values()):
                    done[index] = _finish(context, plan, splits, reference, index, waiting.pop(index))
    for index, parts in waiting.items():  # a block is lost: the error says how many users are
        _finish(context, plan, splits, reference, index, parts)
    names = dict.fromkeys(name for index in sorted(done) for name in done[index])
    return {
        name: pa.concat_tables(done[index][name] for index in sorted(done) if name in done[index]) for name in names
    }


def _finish(
    context: StageContext,
    plan: _Plan,
    splits: Mapping[str, HeldOut],
    reference: Reference,
    index: int,
    parts: _Parts,
) -> dict[str, pa.Table]:
    """The tables of one ranker; its run file is written here."""
    variant, seed = plan.rankers[index]
    try:
        found = {
            name: merge((block for block, _ in parts[name]), split, plan.cutoffs, reference)
            for name, split in splits.items()
        }
    except ValueError as error:
        raise StageError(f"{variant}: {error}", "run evaluate again") from error
    figures = [metrics_table(variant, seed, name, evaluation) for name, evaluation in found.items()]
    groups = strata(found["test"], splits["test"].relevant, reference.train, SELECTION_CUTOFF)
    tables = {"metrics": pa.concat_tables(figures), "strata": strata_table(variant, seed, groups)}
    if seed is None:
        return tables
    ordered = sorted((int(block.users[0]), run) for block, run in parts["test"] if run)
    if plan.depth:
        context.output.write_bytes(f"runs/{variant}.s{seed}.trec.gz", b"".join(run for _, run in ordered))
    return {**tables, "user_metrics": user_metrics_table(variant, seed, found["test"], SELECTION_CUTOFF)}


def _unpacked(table: pa.Table, width: int) -> Iterator[tuple[int, str, tuple[BlockResult, bytes | None]]]:
    """Ranker, split and block of every row of a worker's answer."""
    for batch in table.to_batches():
        columns: dict[str, Any] = {name: batch.column(name) for name in _RESULT.names}
        for row in range(batch.num_rows):
            users, values, top = (columns[name][row].values.to_numpy() for name in ("users", "values", "top"))
            shape = (len(users), -1) if len(users) else (0, 0)
            result = BlockResult(users, values.reshape(-1, width), top.reshape(shape))
            index, split, run = (columns[name][row].as_py() for name in ("ranker", "split", "run"))
            yield index, split, (result, run)
