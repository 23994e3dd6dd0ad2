"""What an engine is: a lazy map from a Ray data set of request rows to one of answer rows.

An engine drops no row; one that it cannot answer comes out with an ``error``. Request rows hold ids: the texts of the
catalogue are looked up in the worker that renders the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray import seeds
from hnlm_ray.config.language import LLMConfig
from hnlm_ray.language.prompts.answers import json_schema, longest_profile
from hnlm_ray.language.prompts.render import Budget, Prompt
from hnlm_ray.language.prompts.wording import Task

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["COMPLETIONS", "EMBEDDINGS", "Call", "Embedder", "Engine", "Renderer", "Sampling"]

COMPLETIONS = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("text", pa.string()),  # as the model wrote it
        pa.field("finish_reason", pa.string()),  # stop | length | "" where there is no answer
        pa.field("prompt_tokens", pa.int32()),
        pa.field("output_tokens", pa.int32()),
        pa.field("error", pa.string()),  # "" where there is an answer
        pa.field("final", pa.bool_()),  # asking again would be no use: there is an answer, or there can be none
        pa.field("note", pa.string()),  # what to know of how it was got, a line each; mostly ""
    ]
)
"""What an engine returns, one row per request."""

EMBEDDINGS = pa.schema(
    [pa.field("id", pa.int64()), pa.field("vector", pa.list_(pa.float32())), pa.field("error", pa.string())]
)
"""What an embedder returns, one row per text; the vector is as the model gives it, empty where there is an error."""


class Renderer(Protocol):
    """Turns request rows into prompts. It is sent to the workers, so it holds plain data only."""

    @property
    def task(self) -> Task:
        """The task that its prompts set."""
        ...

    def prompts(self, requests: pa.Table) -> Iterable[Callable[[Budget | None], Prompt]]:
        """One function per row, in order, that renders its prompt within a budget, or whole for None.

        Such a function raises ConfigError where even the shortest form of its prompt exceeds the budget.
        """
        ...

    def curbed(self) -> Renderer:
        """The renderer for rows whose earlier answer was cut or repeated itself: it asks for the answer alone."""
        ...


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; the defaults of all but the temperature change nothing.

    Attributes:
        temperature: 0 takes the most probable token each time.
        top_p: the probability that the tokens drawn from hold together.
        top_k: so many of the most probable tokens are drawn from; 0 for all.
        min_p: the share of the most probable token's probability that a token must have.
        repetition_penalty: a factor against tokens of the prompt and the answer.
        frequency_penalty: against tokens of the answer, for each time that they occur in it.
        presence_penalty: against tokens of the answer.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0

    @classmethod
    def of(cls, config: LLMConfig, temperature: float) -> Sampling:
        """What the configuration asks for, at a temperature."""
        names = [field.name for field in fields(cls) if field.name != "temperature"]
        return cls(temperature, **{name: getattr(config, name) for name in names})

    def sent(self) -> dict[str, float]:
        """For an endpoint: temperature and ``top_p``, which all of them know, and what differs from its default."""
        usual = Sampling()
        return {
            name: value
            for name, value in asdict(self).items()
            if name in ("temperature", "top_p") or value != getattr(usual, name)
        }


@dataclass(frozen=True)
class Call:
    """How one pass over request rows is asked and sampled.

    Attributes:
        renderer: turns rows into prompts.
        max_output_tokens: after so many tokens an answer is cut off.
        sampling: how tokens are drawn.
        key: of the pass, from :func:`hnlm_ray.seeds.derive`; a row's seed is derived from it and the row's id.
        curb: the least frequency penalty of the rows whose earlier answer was cut or repeated itself.
    """

    renderer: Renderer
    max_output_tokens: int
    sampling: Sampling
    key: int
    curb: float = 0.0

    def sampling_of(self, prompt: Prompt) -> Sampling:
        """How the tokens of one answer are drawn."""
        if not prompt.curbed:
            return self.sampling
        return replace(self.sampling, frequency_penalty=max(self.sampling.frequency_penalty, self.curb))

    def schema_of(self, prompt: Prompt) -> dict[str, Any]:
        """The JSON schema of one answer."""
        longest = longest_profile(self.max_output_tokens)
        return json_schema(self.renderer.task, prompt.reasoning, prompt.choices, longest)

    def row_seeds(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The sampling seed of each row, whatever block or order the rows come in.

        Args:
            ids: (R,) int64.

        Returns:
            (R,) int64 in [0, 2**31).
        """
        return (seeds.hash_counters(self.key, ids) >> np.uint64(33)).astype(np.int64)


class _Sized(Protocol):
    """What Ray Data must know of an engine."""

    @property
    def rows_per_block(self) -> int:
        """Rows that are computed and made durable together."""
        ...

    def needs(self) -> Mapping[str, float]:
        """The Ray resources that it holds while it runs, such as ``{"CPU": 1.0}``."""
        ...


class Engine(_Sized, Protocol):
    """A language model that answers prompts in the JSON form of their task."""

    def answer(self, requests: Dataset, call: Call) -> Dataset:
        """Add the engine to a data set; nothing is computed until it is consumed.

        Args:
            requests: the column ``id`` and those that the call's renderer reads.
            call: how the rows are asked and sampled.

        Returns:
            A data set with the columns of :data:`COMPLETIONS`, by row-wise maps only.
        """
        ...


class Embedder(_Sized, Protocol):
    """A model that turns texts into vectors."""

    def embed(self, texts: Dataset) -> Dataset:
        """Add the model to a data set; nothing is computed until it is consumed.

        Args:
            texts: the columns ``id`` and ``text``.

        Returns:
            A data set with the columns of :data:`EMBEDDINGS`, by row-wise maps only.
        """
        ...
