"""Encode pairs with the tuned encoder, by Ray Data and vLLM: the vector of the hard negative of each pair."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.cluster.connect import connected
from hnlm_ray.cluster.resumable import resumable_map, work_folder
from hnlm_ray.config.tree import Config
from hnlm_ray.config.tuning import EncodeConfig, SupervisionConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.vectors import read_text_vectors, vector_column
from hnlm_ray.demo import assets
from hnlm_ray.errors import StageError
from hnlm_ray.language.engines.tokens import load_tokenizer
from hnlm_ray.language.profiled import pairs_to_ask
from hnlm_ray.run.kept import KeptRun
from hnlm_ray.run.stage import StageContext, StageSummary
from hnlm_ray.run.store import Artifact
from hnlm_ray.tuning.candidates import Knowledge, nearest_candidates, nearest_unseen, teacher_window
from hnlm_ray.tuning.inputs import TuneInputs
from hnlm_ray.tuning.joining import carried_over, numbers_before
from hnlm_ray.tuning.tokens import lay_out
from hnlm_ray.tuning.vllm_body import VllmBody, body_env, body_needs

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["PairVectorizer", "Task", "encoded", "run"]

_VECTORS = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("vector", pa.list_(pa.float16())),
        pa.field("nearest", pa.list_(pa.int32())),
        pa.field("tokens", pa.int32()),
        pa.field("cached_tokens", pa.int32()),  # those of them that came from vLLM's cache
    ]
)


@dataclass(frozen=True)
class Task:
    """What an actor gets: where to read, not what was read."""

    inputs: TuneInputs
    options: EncodeConfig
    supervision: SupervisionConfig


def run(context: StageContext) -> StageSummary:
    """Write ``encoded``: one row per chosen pair. An interrupted stage is resumed.

    With ``tune.keep``, pairs that the earlier run has encoded are carried over.

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
        interactions = context.inputs["prepare"].read("interactions", ["user", "item", "split"])
        pairs = pairs_to_ask(config, interactions, train.n_items)
    known = _known(config, context.inputs["prepare"], train, pairs)
    new = np.setdiff1d(pairs, known["id"].to_numpy())
    context.say(f"encode: {len(new):,} pairs" + (f", {len(known):,} are known" if len(known) else ""))
    with connected(config.cluster):
        found = resumable_map(
            pa.table({"id": new}),
            functools.partial(encoded, Task(inputs, config.encode, config.tune.supervision)),
            schema=_VECTORS,
            folder=work_folder(output, "pairs"),
            rows_per_block=config.encode.batch_size,
            needs=body_needs(config.encode),
            purpose="encoding",
            say=context.say,
        )
    found = pa.concat_tables([found, known]).sort_by("id")
    users, items = np.divmod(found["id"].to_numpy(), train.n_items)
    rows = {"pair": found["id"], "user": users, "item": items}
    output.write("encoded", pa.table({**rows, **{name: found[name] for name in ("vector", "nearest")}}))
    counts = {name: int(found[name].to_numpy().sum()) for name in ("tokens", "cached_tokens")} | {"known": len(known)}
    return StageSummary({"encoded": len(pairs)}, counts)


def _known(config: Config, prepare: Artifact, train: Interactions, pairs: npt.NDArray[np.int64]) -> pa.Table:
    """Rows of the pairs that the run ``tune.keep`` has encoded already."""
    if config.tune.keep is None:
        return _VECTORS.empty_table()
    kept = KeptRun.open(config.tune.keep)
    users, items = (
        numbers_before(*(one.read(f"{key}s").sort_by(key)[f"{key}_id"] for one in (kept.artifacts["prepare"], prepare)))
        for key in ("user", "item")
    )
    encoded = kept.artifacts["encode"].read("encoded")
    known = carried_over(encoded, users, items, train, pairs, config.encode.nearest).rename_columns({"pair": "id"})
    for name in ("tokens", "cached_tokens"):
        known = known.append_column(name, pa.array(np.zeros(len(known), np.int32)))
    return known.cast(_VECTORS)


def encoded(task: Task, requests: Dataset) -> Dataset:
    """Map a data set of pairs ``id`` through the encoder, lazily.

    Returns:
        ``id``, ``vector``, ``nearest``, ``tokens`` and ``cached_tokens``, one row per pair.
    """
    import ray

    options = task.options
    needs = {name: amount / options.replicas for name, amount in body_needs(options).items()}
    return requests.map_batches(
        PairVectorizer,
        fn_constructor_args=(task,),
        batch_size=options.batch_size,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=options.replicas),
        num_cpus=needs["CPU"],
        num_gpus=needs.get("GPU"),
        runtime_env={"env_vars": body_env(options)},
    )


class PairVectorizer:
    """A Ray Data actor with an encoder: projections and head in PyTorch, the body in vLLM."""

    def __init__(self, task: Task) -> None:
        from hnlm_ray.tuning.encoder import PairEncoder, fetch_encoder

        self._train = task.inputs.train()
        self._teacher = task.inputs.teacher_vectors(self._train)
        self._users, self._items = task.inputs.tokens(self._train)
        self._nearest = task.options.nearest
        self._window = None if task.options.within == "catalogue" else self._usable_window(task)
        longest = int(self._users.lengths.max(initial=0) + self._items.lengths.max(initial=0)) + 2
        self._place = tempfile.TemporaryDirectory()
        tuned = fetch_encoder(task.inputs.artifacts["tune"], Path(self._place.name, "encoder"))
        self._encoder, spec = PairEncoder.load(tuned)
        merged = Path(self._place.name, "body")
        self._encoder.save_body(merged)
        load_tokenizer(assets.resolve(spec.model)).save_pretrained(merged)  # vLLM needs one
        self._body = VllmBody(merged, task.options, longest, spec.pooling)

    def __call__(self, requests: pa.Table) -> pa.Table:
        """The rows of the pairs ``id``, with the columns of :func:`encoded`."""
        pairs = requests["id"].to_numpy()
        users, items = np.divmod(pairs, self._train.n_items)
        vectors, lengths, cached = self._vectors(users, items)
        if not np.isfinite(vectors).all():
            raise StageError("the tuned encoder gave a vector with NaN", "tune with a lower tune.learning_rate")
        if self._window is None:
            nearest = nearest_unseen(vectors, users, self._teacher.items, self._train, self._nearest)
        else:
            nearest = nearest_candidates(vectors, self._window[users], self._teacher.items, self._nearest)
        columns = {
            "id": requests["id"],
            "vector": vector_column(vectors.astype(np.float16)),
            "nearest": vector_column(nearest),
            "tokens": lengths.astype(np.int32),
            "cached_tokens": cached,
        }
        return pa.table(columns).cast(_VECTORS)

    def _usable_window(self, task: Task) -> npt.NDArray[np.int32]:
        """The candidates of every user: (U, L) int32, -1 for none and where the guard removes one."""
        texts = read_text_vectors(task.inputs.artifacts["vectors"], self._train.n_items)
        knowledge = Knowledge(self._train, self._teacher.users, self._teacher.items, texts)
        window = teacher_window(knowledge, task.supervision)
        return np.where(window.usable, window.items, np.int32(-1))

    def _vectors(
        self, users: npt.NDArray[np.int64], items: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Unit vectors (B, d), the tokens of each sequence (B,), and how many of them came from vLLM's cache (B,)."""
        import torch

        from hnlm_ray.tuning.encoder import tensors_of

        layout = lay_out(self._users, self._items, users, items)
        lengths = layout.mask.sum(axis=1)
        ids, _, places = tensors_of(layout)
        with torch.inference_mode():
            rows = torch.from_numpy(self._teacher.users[users]), torch.from_numpy(self._teacher.items[items])
            embedded = self._encoder.embed(ids, places, *rows)
            sequences = [sequence[:length] for sequence, length in zip(embedded, lengths, strict=True)]
            pooled, cached = self._body.pool(sequences)
            vectors: npt.NDArray[np.float32] = self._encoder.finish(pooled).numpy()
        return vectors, lengths, cached
