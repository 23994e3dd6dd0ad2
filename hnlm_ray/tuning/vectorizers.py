"""What runs a tuned encoder: projections and heads in PyTorch, the body in vLLM.

A pair encoder takes one step, :class:`PairVectorizer`. A factorised one takes two: :class:`TextVectorizer` over users
and items, then :class:`PairJoiner` over pairs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.config.tuning import EncodeConfig, SupervisionConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.vectors import read_item_vectors, vector_column
from hnlm_ray.demo import assets
from hnlm_ray.errors import StageError
from hnlm_ray.language.engines.tokens import load_tokenizer
from hnlm_ray.tuning.candidates import Knowledge, nearest_candidates, nearest_unseen, teacher_window
from hnlm_ray.tuning.inputs import Teacher, TuneInputs
from hnlm_ray.tuning.tokens import lay_out, lay_out_texts
from hnlm_ray.tuning.vllm_body import VllmBody

if TYPE_CHECKING:
    from hnlm_ray.tuning.encoder import Encoder

__all__ = ["PAIR_VECTORS", "TEXT_VECTORS", "PairJoiner", "PairVectorizer", "Task", "TextVectorizer"]

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

PAIR_VECTORS = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("vector", pa.list_(pa.float16())),
        pa.field("nearest", pa.list_(pa.int32())),
        pa.field("tokens", pa.int32()),
        pa.field("cached_tokens", pa.int32()),  # those of them that came from vLLM's cache
    ]
)
"""A row per pair; ``id`` is that of the pair."""

TEXT_VECTORS = pa.schema(
    [pa.field("id", pa.int64()), pa.field("vector", pa.list_(pa.float32())), pa.field("tokens", pa.int32())]
)
"""A row per text; ``id`` is the user, or the number of users plus the item."""


@dataclass(frozen=True)
class Task:
    """What an actor gets: where to read, not what was read."""

    inputs: TuneInputs
    options: EncodeConfig
    supervision: SupervisionConfig


class PairVectorizer:
    """Runs a pair encoder over pairs."""

    def __init__(self, task: Task) -> None:
        from hnlm_ray.tuning.pair_encoder import PairEncoder

        self._train = task.inputs.train()
        self._teacher = task.inputs.teacher_vectors(self._train)
        self._users, self._items = task.inputs.tokens(self._train)
        self._nearest = _nearest_items(task, self._train, self._teacher)
        longest = int(self._users.lengths.max(initial=0) + self._items.lengths.max(initial=0)) + 2
        encoder, self._body = _running(task, longest)
        self._encoder = cast(PairEncoder, encoder)

    def __call__(self, requests: pa.Table) -> pa.Table:
        """The rows :data:`PAIR_VECTORS` of the pairs ``id``."""
        users, items = np.divmod(requests["id"].to_numpy(), self._train.n_items)
        vectors, lengths, cached = self._vectors(users, items)
        return _pair_rows(requests, vectors, self._nearest(vectors, users), lengths, cached)

    def _vectors(self, users: Numbers, items: Numbers) -> tuple[Floats, Numbers, npt.NDArray[np.int32]]:
        """Unit vectors (B, d), the tokens of each sequence (B,), and how many of them came from vLLM's cache (B,)."""
        import torch

        from hnlm_ray.tuning.pair_encoder import tensors_of

        layout = lay_out(self._users, self._items, users, items)
        lengths = layout.mask.sum(axis=1)
        ids, _, places = tensors_of(layout)
        with torch.inference_mode():
            rows = torch.from_numpy(self._teacher.users[users]), torch.from_numpy(self._teacher.items[items])
            embedded = self._encoder.embed(ids, places, *rows)
            sequences = [sequence[:length] for sequence, length in zip(embedded, lengths, strict=True)]
            pooled, cached = self._body.pool(sequences)
            vectors: Floats = self._encoder.finish(pooled).numpy()
        return vectors, lengths, cached


class TextVectorizer:
    """Runs the towers of a factorised encoder over the texts of users and items."""

    def __init__(self, task: Task) -> None:
        from hnlm_ray.tuning.factorised import FactorisedEncoder

        train = task.inputs.train()
        self._n_users = train.n_users
        teacher, (users, items) = task.inputs.teacher_vectors(train), task.inputs.tokens(train)
        self._sides = {"user": (users, teacher.users), "item": (items, teacher.items)}
        longest = int(max(users.lengths.max(initial=0), items.lengths.max(initial=0))) + 1
        encoder, self._body = _running(task, longest)
        self._encoder = cast(FactorisedEncoder, encoder)

    def __call__(self, requests: pa.Table) -> pa.Table:
        """The rows :data:`TEXT_VECTORS` of the texts ``id``."""
        import torch

        ids = requests["id"].to_numpy()
        is_item = ids >= self._n_users
        places = np.r_[np.flatnonzero(~is_item), np.flatnonzero(is_item)]
        n_users = int((~is_item).sum())
        with torch.inference_mode():
            sequences = self._embedded("user", ids[~is_item]) + self._embedded("item", ids[is_item] - self._n_users)
            pooled, _ = self._body.pool(sequences)
            users, items = (
                self._encoder.finish(pooled[:n_users], "user"),
                self._encoder.finish(pooled[n_users:], "item"),
            )
            vectors = torch.cat([users, items]).numpy()
        lengths = np.array([len(sequence) for sequence in sequences], np.int32)
        table = pa.table({"id": ids[places], "vector": vector_column(_finite(vectors)), "tokens": lengths})
        return table.cast(TEXT_VECTORS)

    def _embedded(self, side: Any, rows: Numbers) -> list[Any]:
        """The embedded sequences of some users or items."""
        import torch

        tokens, vectors = self._sides[side]
        ids, mask = lay_out_texts(tokens, rows)
        embedded = self._encoder.embed(torch.from_numpy(ids), torch.from_numpy(vectors[rows]), side)
        return [sequence[:length] for sequence, length in zip(embedded, mask.sum(axis=1), strict=True)]


class PairJoiner:
    """Makes the vectors of pairs from those of their users and items, without the body."""

    def __init__(self, task: Task, users: Floats, items: Floats) -> None:
        """Read the encoder.

        Args:
            task: of the stage.
            users: (U, d), the encoder's unit vectors of users; those that are in no pair do not matter.
            items: (I, d), those of the items.
        """
        from hnlm_ray.tuning.encoder import fetch_encoder
        from hnlm_ray.tuning.factorised import FactorisedEncoder
        from hnlm_ray.tuning.forms import load_encoder

        self._train, self._users, self._items = task.inputs.train(), users, items
        self._nearest = _nearest_items(task, self._train, task.inputs.teacher_vectors(self._train))
        with tempfile.TemporaryDirectory() as place:
            encoder, _ = load_encoder(fetch_encoder(task.inputs.artifacts["tune"], Path(place)))
        self._encoder = cast(FactorisedEncoder, encoder)

    def __call__(self, requests: pa.Table) -> pa.Table:
        """The rows :data:`PAIR_VECTORS` of the pairs ``id``; their tokens are counted with the texts."""
        import torch

        users, items = np.divmod(requests["id"].to_numpy(), self._train.n_items)
        with torch.inference_mode():
            parts = torch.from_numpy(self._users[users]), torch.from_numpy(self._items[items])
            vectors = self._encoder.join(*parts).numpy()
        none = np.zeros(len(users), np.int32)
        return _pair_rows(requests, vectors, self._nearest(vectors, users), none, none)


def _running(task: Task, longest: int) -> tuple[Encoder, VllmBody]:
    """The tuned encoder with its body in an engine for sequences of at most ``longest`` tokens."""
    from hnlm_ray.tuning.encoder import fetch_encoder
    from hnlm_ray.tuning.forms import load_encoder

    with tempfile.TemporaryDirectory() as place:
        encoder, spec = load_encoder(fetch_encoder(task.inputs.artifacts["tune"], Path(place, "encoder")))
        merged = Path(place, "body")
        encoder.save_body(merged)
        load_tokenizer(assets.resolve(spec.model)).save_pretrained(merged)  # vLLM needs one
        return encoder, VllmBody(merged, task.options, longest, spec.pooling)


def _nearest_items(
    task: Task, train: Interactions, teacher: Teacher
) -> Callable[[Floats, Numbers], npt.NDArray[np.int32]]:
    """What finds the items (B, k) nearest to the vectors (B, d) of pairs of the users (B,)."""
    k = task.options.nearest
    if task.options.within == "catalogue":
        return lambda vectors, users: nearest_unseen(vectors, users, teacher.items, train, k)
    texts = read_item_vectors(task.inputs.artifacts["vectors"], train.n_items)
    window = teacher_window(Knowledge(train, teacher.users, teacher.items, texts), task.supervision)
    usable = np.where(window.usable, window.items, np.int32(-1))
    return lambda vectors, users: nearest_candidates(vectors, usable[users], teacher.items, k)


def _pair_rows(
    requests: pa.Table, vectors: Floats, nearest: npt.NDArray[np.int32], tokens: npt.NDArray[Any], cached: Any
) -> pa.Table:
    columns = {
        "id": requests["id"],
        "vector": vector_column(_finite(vectors).astype(np.float16)),
        "nearest": vector_column(nearest),
        "tokens": tokens.astype(np.int32),
        "cached_tokens": cached,
    }
    return pa.table(columns).cast(PAIR_VECTORS)


def _finite(vectors: Floats) -> Floats:
    if not np.isfinite(vectors).all():
        raise StageError("the tuned encoder gave a vector with NaN", "tune with a lower tune.learning_rate")
    return vectors
