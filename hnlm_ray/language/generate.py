"""From request rows to checked answers: every row comes out, with a status and the reason for it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray import seeds
from hnlm_ray.cluster.resumable import resumable_map, work_folder
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import StageError
from hnlm_ray.language.engines.protocol import COMPLETIONS, Call, Engine, Renderer
from hnlm_ray.language.prompts.answers import parse
from hnlm_ray.language.prompts.render import Task
from hnlm_ray.run.store import Artifact

__all__ = ["ANSWERS", "Request", "answer_counts", "generate"]

ANSWERS = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("text", pa.string()),  # the summary, or the name of the negative; "" unless ok
        pa.field("reasoning", pa.string()),
        pa.field("status", pa.string()),  # ok | invalid | truncated | failed
        pa.field("reason", pa.string()),
        pa.field("attempts", pa.int32()),
        pa.field("prompt_tokens", pa.int32()),  # over all attempts
        pa.field("output_tokens", pa.int32()),
    ]
)
"""What :func:`generate` returns, one row per request, sorted by id."""

_TEXT_FIELD: dict[Task, str] = {"item_profile": "summary", "user_profile": "summary", "negative": "hard_negative"}
STATUSES = ("ok", "invalid", "truncated", "failed")


@dataclass(frozen=True)
class Request:
    """What is to be generated.

    Attributes:
        rows: a unique int64 ``id`` and the columns of the renderer.
        renderer: makes the prompts.
        max_output_tokens: where an answer is cut off.
        temperature: of the first pass.
    """

    rows: pa.Table
    renderer: Renderer
    max_output_tokens: int
    temperature: float = 0.0


def generate(
    request: Request, engine: Engine, config: Config, output: Artifact, say: Callable[[str], None]
) -> pa.Table:
    """Ask for every row; ask again, warmer and with another seed, for rows whose answer was rejected.

    An engine is started only for rows that have no durable answer yet, and for a further pass only if one was rejected.

    Returns:
        A table of :data:`ANSWERS`.

    Raises:
        StageError: more rows than ``llm.max_reject_rate`` have no usable answer.
        EngineError: the engine cannot start.
        ResourceError: the cluster is too small for it.
    """
    answers = ANSWERS.empty_table()
    rows, task, options = request.rows, request.renderer.task, config.llm
    for attempt in range(1 + options.retries):
        if rows.num_rows == 0:
            break
        say(f"{task}: pass {attempt + 1}, {rows.num_rows} prompts")
        call = Call(
            renderer=request.renderer,
            max_output_tokens=request.max_output_tokens,
            temperature=max(request.temperature, options.retry_temperature) if attempt else request.temperature,
            top_p=options.top_p,
            key=seeds.derive(config.seed, "llm", task, attempt),
        )
        said = resumable_map(
            rows,
            functools.partial(engine.answer, call=call),
            schema=COMPLETIONS,
            folder=work_folder(output, f"{task}-{attempt}"),
            rows_per_block=engine.rows_per_block,
            needs=engine.needs(),
            purpose=f"{task} generation",
            say=say,
        )
        answers = _merged(answers, _checked(task, said, attempt + 1))
        rejected = answers.filter(pc.not_equal(answers["status"], "ok"))["id"]
        rows = rows.filter(pc.is_in(rows["id"], rejected))
    _refuse_many_rejects(task, answers, options.max_reject_rate)
    return answers


def answer_counts(answers: pa.Table) -> dict[str, int | float]:
    """Rows by status, rows asked more than once, and tokens, of any table with the columns of an answer."""
    by_status = {status: int(pc.sum(pc.equal(answers["status"], status)).as_py() or 0) for status in STATUSES}
    return {
        **by_status,
        "retried": int(pc.sum(pc.greater(answers["attempts"], 1)).as_py() or 0),
        "prompt_tokens": int(pc.sum(answers["prompt_tokens"]).as_py() or 0),
        "output_tokens": int(pc.sum(answers["output_tokens"]).as_py() or 0),
    }


def _checked(task: Task, said: pa.Table, attempts: int) -> pa.Table:
    parsed = [
        parse(task, text, finish_reason, error)
        for text, finish_reason, error in zip(
            said["text"].to_pylist(), said["finish_reason"].to_pylist(), said["error"].to_pylist(), strict=True
        )
    ]
    columns: dict[str, Any] = {
        "id": said["id"],
        "text": [answer.fields[_TEXT_FIELD[task]] for answer in parsed],
        "reasoning": [answer.fields["reasoning"] for answer in parsed],
        "status": [answer.status for answer in parsed],
        "reason": [answer.reason for answer in parsed],
        "attempts": np.full(said.num_rows, attempts, np.int32),
        "prompt_tokens": said["prompt_tokens"],
        "output_tokens": said["output_tokens"],
    }
    return pa.table(columns).cast(ANSWERS)


def _merged(old: pa.Table, new: pa.Table) -> pa.Table:
    """The later answer of each row, with the tokens of all its attempts."""
    if old.num_rows == 0:
        return new
    again = np.searchsorted(old["id"].to_numpy(), new["id"].to_numpy())
    for name in ("prompt_tokens", "output_tokens"):
        total = pc.add(new[name], old[name].take(again))
        new = new.set_column(new.column_names.index(name), ANSWERS.field(name), total)
    kept = old.filter(pc.invert(pc.is_in(old["id"], new["id"])))
    return pa.concat_tables([kept, new]).sort_by("id")


def _refuse_many_rejects(task: Task, answers: pa.Table, most: float) -> None:
    rejected = answers.num_rows - int(answer_counts(answers)["ok"])
    if answers.num_rows == 0 or rejected / answers.num_rows <= most:
        return
    reasons = answers.filter(pc.not_equal(answers["status"], "ok"))["reason"].value_counts().to_pylist()
    commonest = max(reasons, key=lambda entry: entry["counts"])
    raise StageError(
        f"{task}: {rejected} of {answers.num_rows} answers were rejected, more than llm.max_reject_rate={most:g}; "
        f"most often ({commonest['counts']}) because: {commonest['values']}",
        "use a better model, more max_output_tokens, or a higher llm.max_reject_rate",
    )
