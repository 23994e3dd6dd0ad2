"""Prompts rendered in the workers of Ray Data, one block of request rows at a time."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from hnlm_ray.errors import ConfigError
from hnlm_ray.language.engines.protocol import COMPLETIONS, Call
from hnlm_ray.language.prompts.render import Budget, Prompt

__all__ = ["RenderedRow", "completions", "render"]

RenderedRow = tuple[int, Prompt | None, str]
"""Id, prompt, and why there is no prompt ("" where there is one)."""


def render(requests: pa.Table, call: Call, budget: Budget | None) -> list[RenderedRow]:
    """Prompts of a block of requests; a row that cannot fit comes out with the reason and goes to no model."""
    rows: list[RenderedRow] = []
    for row_id, prompt_of in zip(requests["id"].to_pylist(), call.renderer.prompts(requests), strict=True):
        try:
            rows.append((row_id, prompt_of(budget), ""))
        except ConfigError as error:
            rows.append((row_id, None, error.problem))
    return rows


def completions(columns: dict[str, Any]) -> pa.Table:
    """A table of :data:`COMPLETIONS` from its columns, in any order."""
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in COMPLETIONS}, COMPLETIONS)
