"""What an engine is: a lazy map from a data set of request rows to one of answer rows.

A request row carries ids, not texts: the texts of the catalogue are looked up where the prompt is rendered, in the
worker. An engine never drops a row; what it cannot answer comes out with an ``error``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray import seeds
from hnlm_ray.language.prompts.render import Budget, Prompt, Task

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["COMPLETIONS", "EMBEDDINGS", "Call", "Embedder", "Engine", "Renderer"]

COMPLETIONS = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("text", pa.string()),  # as the model wrote it
        pa.field("finish_reason", pa.string()),  # stop | length | "" where there is no answer
        pa.field("prompt_tokens", pa.int32()),
        pa.field("output_tokens", pa.int32()),
        pa.field("error", pa.string()),  # "" where there is an answer
    ]
)
"""What an engine returns, one row per request."""

EMBEDDINGS = pa.schema(
    [pa.field("id", pa.int64()), pa.field("vector", pa.list_(pa.float32())), pa.field("error", pa.string())]
)
"""What an embedder returns, one row per text; the vector is as the model gives it, empty where there is an error."""


class Renderer(Protocol):
    """Turns request rows into prompts; travels to the workers, so it holds plain data only."""

    @property
    def task(self) -> Task:
        """The task whose prompts it renders."""
        ...

    def prompts(self, requests: pa.Table) -> Iterable[Callable[[Budget | None], Prompt]]:
        """One function per row, in order, that renders its prompt within a budget.

        Each may raise ConfigError when the shortest form exceeds the budget.
        """
        ...


@dataclass(frozen=True)
class Call:
    """One pass over request rows.

    Attributes:
        renderer: makes the prompts.
        max_output_tokens: where an answer is cut off.
        temperature: 0 for the most probable answer.
        top_p: nucleus of the sampling.
        key: from :func:`hnlm_ray.seeds.derive`; with a row's id it gives that row's seed.
    """

    renderer: Renderer
    max_output_tokens: int
    temperature: float
    top_p: float
    key: int

    def row_seeds(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """One sampling seed below 2**31 per row, whatever block or order the row comes in."""
        return (seeds.hash_counters(self.key, ids) >> np.uint64(33)).astype(np.int64)


class Engine(Protocol):
    """A language model that answers prompts in the JSON form of their task."""

    @property
    def rows_per_block(self) -> int:
        """Rows that are made durable together."""
        ...

    def needs(self) -> Mapping[str, float]:
        """Resources of the cluster that it holds while it runs."""
        ...

    def answer(self, requests: Dataset, call: Call) -> Dataset:
        """Add the engine to a data set with a column ``id`` and those of the renderer.

        Returns:
            A data set with the columns of :data:`COMPLETIONS`, by row-wise maps only.
        """
        ...


class Embedder(Protocol):
    """A model that turns texts into vectors."""

    @property
    def rows_per_block(self) -> int:
        """Rows that are made durable together."""
        ...

    def needs(self) -> Mapping[str, float]:
        """Resources of the cluster that it holds while it runs."""
        ...

    def embed(self, texts: Dataset) -> Dataset:
        """Add the model to a data set with the columns ``id`` and ``text``.

        Returns:
            A data set with the columns of :data:`EMBEDDINGS`, by row-wise maps only.
        """
        ...
