"""What every engine does around its model, for a block of rows in a worker: prompts before it, answer rows after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.errors import ConfigError
from hnlm_ray.language.engines.protocol import COMPLETIONS, Call
from hnlm_ray.language.prompts.quoting import well_formed
from hnlm_ray.language.prompts.render import Budget, Prompt

__all__ = ["RenderedRow", "Reply", "completions", "render"]

_UNFIT = "no prompt: "
"""Begins the error of a row that goes to no model, now or later."""


@dataclass(frozen=True)
class RenderedRow:
    """One request as a model gets it.

    Attributes:
        prompt: None where even the shortest form does not fit: that row goes to no model.
        error: why there is no prompt; "" where there is one.
        seed: of the sampling, below 2**31.
    """

    prompt: Prompt | None
    error: str
    seed: int


@dataclass(frozen=True)
class Reply:
    """What a model said to one prompt; the fields are the columns of :data:`COMPLETIONS` beside ``id``."""

    text: str
    finish_reason: str = "stop"
    error: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    final: bool = True
    note: str = ""

    @classmethod
    def failed(cls, error: str) -> Reply:
        """No answer, and why; it is final only where the prompt fits no model."""
        return cls("", "", error, final=error.startswith(_UNFIT))


def render(requests: pa.Table, call: Call, budget: Budget) -> list[RenderedRow]:
    """The prompts of a block of requests, in order.

    Args:
        requests: the column ``id`` and those that the call's renderer reads; a column ``curbed`` says which rows had an
            earlier answer that was cut or repeated itself.
        call: the pass that they belong to.
        budget: the most that a prompt may hold.
    """
    rows = []
    seeds = call.row_seeds(requests["id"].to_numpy()).tolist()
    is_curbed = requests["curbed"] if "curbed" in requests.column_names else pa.array([False] * requests.num_rows)
    renderers = {False: call.renderer, True: call.renderer.curbed()}
    prompts = {
        curbed: iter(renderer.prompts(requests.filter(pc.equal(is_curbed, curbed))))
        for curbed, renderer in renderers.items()
    }
    for curbed, seed in zip(is_curbed.to_pylist(), seeds, strict=True):
        prompt_of = next(prompts[curbed])
        try:
            rows.append(RenderedRow(prompt_of(budget), "", seed))
        except ConfigError as error:
            rows.append(RenderedRow(None, f"{_UNFIT}{error.problem}", seed))
    return rows


def completions(ids: pa.ChunkedArray, replies: Sequence[Reply]) -> pa.Table:
    """A table of :data:`COMPLETIONS`: one reply per id, in order."""
    columns = {"id": ids}
    for field in list(COMPLETIONS)[1:]:
        values = [getattr(reply, field.name) for reply in replies]
        columns[field.name] = pa.array(
            map(well_formed, values) if pa.types.is_string(field.type) else values, field.type
        )
    return pa.table(columns, schema=COMPLETIONS)
