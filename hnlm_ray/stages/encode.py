"""Encode pairs with the tuned encoder, by Ray Data and vLLM: the vector of the hard negative of each pair."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.cluster.connect import connected
from hnlm_ray.cluster.maps import mapped
from hnlm_ray.cluster.resumable import resumable_map, work_folder
from hnlm_ray.config.tree import Config
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.vectors import vector_column, vector_matrix
from hnlm_ray.language.profiled import pairs_to_ask
from hnlm_ray.run.kept import KeptRun
from hnlm_ray.run.rows import Rows
from hnlm_ray.run.stage import StageContext, StageSummary
from hnlm_ray.run.store import Artifact
from hnlm_ray.tuning.inputs import TuneInputs
from hnlm_ray.tuning.joining import carried_over, numbers_before
from hnlm_ray.tuning.vectorizers import (
    PAIR_VECTORS,
    TEXT_VECTORS,
    PairJoiner,
    PairVectorizer,
    Task,
    TextVectorizer,
)
from hnlm_ray.tuning.vllm_body import body_env, body_needs

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["encoded", "run", "text_vectors"]

_PAIRS_PER_TEXT = 16
"""Blocks of pairs that need no pass through the body are so many times larger than those of texts."""


def run(context: StageContext) -> StageSummary:
    """Write ``encoded``: one row per chosen pair. An interrupted stage is resumed.

    A factorised encoder also writes ``encoded_items``: its vector of every item. With ``tune.keep``, pairs that the
    earlier run has encoded are carried over.

    Args:
        context: with the inputs ``prepare``, ``vectors``, ``tokens``, ``tune`` and the teacher's fit.

    Raises:
        StageError: a vector is not finite.
        EngineError: the engine cannot start.
        ResourceError: the cluster is too small for it.
    """
    config, output = context.config, context.output
    inputs = TuneInputs.of_run(context.config, context.inputs)
    train = inputs.train()
    pairs = train.keys
    if config.encode.pairs == "chosen":
        interactions = functools.partial(context.inputs["prepare"].parts, "interactions", by="user")
        pairs = pairs_to_ask(config, interactions, train.n_items)
    known = _known(config, context.inputs["prepare"], train, pairs)
    new = np.setdiff1d(pairs, known["id"].to_numpy())
    context.say(f"encode: {len(new):,} pairs" + (f", {len(known):,} are known" if len(known) else ""))
    task, texts = Task(inputs, config.encode, config.tune.supervision), TEXT_VECTORS.empty_table()
    with connected(config.cluster):
        if _form(inputs) == "pair":
            found = _map(context, "pairs", new, functools.partial(encoded, task), PAIR_VECTORS)
        else:
            ids = np.r_[np.unique(new // train.n_items), train.n_users + np.arange(train.n_items)]
            texts = _map(context, "texts", ids, functools.partial(text_vectors, task), TEXT_VECTORS)
            users, items = _by_side(texts, train)
            output.write("encoded_items", _items_table(items))
            join = functools.partial(_joined, task, users, items)
            found = _map(context, "pairs", new, join, PAIR_VECTORS, _PAIRS_PER_TEXT)
    found = pa.concat_tables([found, known]).sort_by("id")
    owners, chosen = np.divmod(found["id"].to_numpy(), train.n_items)
    rows = {"pair": found["id"], "user": owners, "item": chosen}
    output.write("encoded", pa.table({**rows, **{name: found[name] for name in ("vector", "nearest")}}))
    counts = {name: int(found[name].to_numpy().sum()) for name in ("tokens", "cached_tokens")}
    counts["tokens"] += int(texts["tokens"].to_numpy().sum())
    written = {"encoded": len(pairs)} | ({"encoded_items": train.n_items} if len(texts) else {})
    return StageSummary(written, counts | {"known": len(known)})


def encoded(task: Task, requests: Dataset) -> Dataset:
    """Map a data set of pairs ``id`` through a pair encoder, lazily.

    Returns:
        :data:`hnlm_ray.tuning.vectorizers.PAIR_VECTORS`, one row per pair.
    """
    return _actors(requests, PairVectorizer, (task,), task, body_needs(task.options), 1)


def text_vectors(task: Task, requests: Dataset) -> Dataset:
    """Map a data set of texts ``id`` through the towers of a factorised encoder, lazily.

    Returns:
        :data:`hnlm_ray.tuning.vectorizers.TEXT_VECTORS`, one row per text.
    """
    return _actors(requests, TextVectorizer, (task,), task, body_needs(task.options), 1)


class _Joiner(PairJoiner):
    """A joiner in an actor, which gets the vectors through Ray's store of objects."""

    def __init__(self, task: Task, vectors: Any) -> None:
        import ray

        super().__init__(task, *ray.get(vectors[0]))


def _joined(task: Task, users: npt.NDArray[np.float32], items: npt.NDArray[np.float32], requests: Dataset) -> Dataset:
    import ray

    # In a list: Ray would replace a bare reference by what it stands for, once per actor.
    vectors = [ray.put((users, items))]
    return _actors(requests, _Joiner, (task, vectors), task, {"CPU": float(task.options.replicas)}, _PAIRS_PER_TEXT)


def _actors(
    requests: Dataset, actor: type, arguments: tuple[Any, ...], task: Task, needs: dict[str, float], larger: int
) -> Dataset:
    """Map blocks through a pool of ``encode.replicas`` actors, which hold ``needs`` together."""
    import ray

    options = task.options
    return mapped(
        requests,
        actor,
        retries=0,
        fn_constructor_args=arguments,
        batch_size=larger * options.batch_size,
        compute=ray.data.ActorPoolStrategy(size=options.replicas),
        num_cpus=needs["CPU"] / options.replicas,
        num_gpus=needs["GPU"] / options.replicas if "GPU" in needs else None,
        runtime_env={"env_vars": body_env(options)},
    )


def _map(
    context: StageContext, name: str, ids: npt.NDArray[np.int64], transform: Any, schema: pa.Schema, larger: int = 1
) -> pa.Table:
    """Apply ``transform`` to the rows ``ids`` that an interrupted stage has not written: a row each."""
    options = context.config.encode
    return resumable_map(
        Rows.of(pa.table({"id": ids})),
        transform,
        schema=schema,
        folder=work_folder(context.output, name),
        rows_per_block=larger * options.batch_size,
        needs=body_needs(options),
        purpose="encoding" if name == "pairs" else f"encoding of {name}",
        say=context.say,
    ).table()


def _form(inputs: TuneInputs) -> str:
    """The form of the tuned encoder; that of an earlier run may differ from ``tune.form``."""
    from hnlm_ray.tuning.encoder import EncoderSpec, fetch_encoder

    with tempfile.TemporaryDirectory() as place:
        return EncoderSpec.read(fetch_encoder(inputs.artifacts["tune"], Path(place))).form


def _by_side(texts: pa.Table, train: Interactions) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Vectors of all users, zero for those who were not encoded, and of all items."""
    ids, vectors = texts["id"].to_numpy(), vector_matrix(texts["vector"])
    both = np.zeros((train.n_users + train.n_items, vectors.shape[1]), np.float32)
    both[ids] = vectors
    return both[: train.n_users], both[train.n_users :]


def _items_table(vectors: npt.NDArray[np.float32]) -> pa.Table:
    numbers = np.arange(len(vectors), dtype=np.int32)
    return pa.table({"item": numbers, "vector": vector_column(vectors.astype(np.float16))})


def _known(config: Config, prepare: Artifact, train: Interactions, pairs: npt.NDArray[np.int64]) -> pa.Table:
    """Rows of the pairs that the run ``tune.keep`` has encoded already."""
    if config.tune.keep is None:
        return PAIR_VECTORS.empty_table()
    kept = KeptRun.open(config.tune.keep)
    users, items = (
        numbers_before(*(one.read(f"{key}s").sort_by(key)[f"{key}_id"] for one in (kept.artifacts["prepare"], prepare)))
        for key in ("user", "item")
    )
    encoded = kept.artifacts["encode"].read("encoded")
    known = carried_over(encoded, users, items, train, pairs, config.encode.nearest).rename_columns({"pair": "id"})
    for name in ("tokens", "cached_tokens"):
        known = known.append_column(name, pa.array(np.zeros(len(known), np.int32)))
    return known.cast(PAIR_VECTORS)
