"""From request rows to checked answers: every row comes out, with a status and, if it was rejected, the reason.

Only answers are durable. A row without one, because the engine or endpoint failed, is asked again when the same command
is run again, and once more at the end of a pass if there are few of them.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray import seeds
from hnlm_ray.cluster.resumable import resumable_map, work_folder
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import EngineError, StageError
from hnlm_ray.language.engines.protocol import COMPLETIONS, Call, Engine, Renderer, Sampling
from hnlm_ray.language.engines.rendering import Reply, completions
from hnlm_ray.language.prompts.answers import longest_profile, parse
from hnlm_ray.language.prompts.soundness import runs_on
from hnlm_ray.language.prompts.wording import ANSWER_FIELD, Task
from hnlm_ray.run.store import Artifact

__all__ = ["ANSWERS", "COUNTED", "Request", "Written", "answer_counts", "generate", "sameness"]

ANSWERS = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("text", pa.string()),  # the summary, or the name of the negative; "" unless ok
        pa.field("reasoning", pa.string()),
        pa.field("status", pa.string()),  # ok | invalid | truncated | failed
        pa.field("reason", pa.string()),
        pa.field("excerpt", pa.string()),  # how an answer begins that could not be used
        pa.field("attempts", pa.int32()),
        pa.field("prompt_tokens", pa.int32()),  # over all attempts
        pa.field("output_tokens", pa.int32()),
    ]
)
"""What :func:`generate` returns, one row per request, sorted by id."""

STATUSES = ("ok", "invalid", "truncated", "failed")
COUNTED = ["status", "attempts", "prompt_tokens", "output_tokens"]
"""Columns that :func:`answer_counts` reads."""
_AT_ONCE = 1 << 14
_TOLD = ["error", "final", "note"]
"""Columns of replies that the end of a stage tells of."""
_SOME, _DISTINCT = 50, 0.5
"""From so many profiles on, the share that must be different from each other."""


@dataclass(frozen=True)
class Request:
    """What a language model is to write.

    Attributes:
        rows: one per answer: a unique int64 ``id``, and the columns that the renderer reads.
        renderer: turns rows into prompts, all of one task.
        max_output_tokens: after so many tokens an answer is cut off.
        temperature: of the first pass; 0 takes the most probable token each time.
        examples: answers of the worked examples in the prompts, which a profile must not copy.
    """

    rows: pa.Table
    renderer: Renderer
    max_output_tokens: int
    temperature: float = 0.0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """What a model wrote.

    Attributes:
        answers: a table of :data:`ANSWERS`: one row per request row, sorted by id.
        warnings: for the summary of the stage.
    """

    answers: pa.Table
    warnings: tuple[str, ...]


def generate(request: Request, engine: Engine, config: Config, output: Artifact, say: Callable[[str], None]) -> Written:
    """Have an answer written for every row, over any number of interrupted attempts.

    A row whose answer is rejected is asked again in up to ``llm.retries`` further passes, each with another seed and at
    ``llm.retry_temperature`` or more. Where it was cut or repeated itself, the answer is asked for without a reason and
    at ``llm.retry_frequency_penalty`` or more. An engine is started only for rows that have no durable answer yet.

    Args:
        request: rows, prompts and limits.
        engine: the model that answers.
        config: the whole configuration; the section ``llm`` and the seed are read.
        output: of the calling stage; answers are durable in its work folder until the stage has written its table.
        say: gets a line at the beginning of each pass, and one of progress now and then.

    Raises:
        StageError: the share of rows without a usable answer exceeds ``llm.max_reject_rate``.
        EngineError: the engine cannot start, died, or answered too few of the rows.
        ResourceError: the cluster is too small for it.
        StoreError: the work folder cannot be read or written.
    """
    answers, replies = ANSWERS.empty_table(), COMPLETIONS.empty_table().select(_TOLD)
    task, options = request.renderer.task, config.llm
    rows = request.rows.append_column("curbed", pa.repeat(pa.scalar(False), request.rows.num_rows))
    for attempt in range(1 + options.retries):
        if rows.num_rows == 0:
            break
        said = _answered_pass(request, rows, attempt, engine, config, output, say)
        answers = _merged(answers, _checked(request, said, attempt + 1))
        replies = pa.concat_tables([replies, said.select(_TOLD)])
        del said  # the texts of all replies
        _require_answers(task, replies, request.rows.num_rows, options.max_reject_rate)
        rows = _to_ask_again(rows, answers)
    _require_few_rejects(task, answers, options.max_reject_rate)
    return Written(answers, (*_warnings(task, replies, request.rows.num_rows), *sameness(task, answers)))


def _answered_pass(
    request: Request, rows: pa.Table, attempt: int, engine: Engine, config: Config, output: Artifact,
    say: Callable[[str], None],
) -> pa.Table:  # fmt: skip
    """One pass over some rows: a table of :data:`COMPLETIONS`."""
    task, options = request.renderer.task, config.llm
    call = Call(
        renderer=request.renderer,
        max_output_tokens=request.max_output_tokens,
        sampling=Sampling.of(options, max(request.temperature, options.retry_temperature if attempt else 0.0)),
        key=seeds.derive(config.seed, "llm", task, attempt),
        curb=options.retry_frequency_penalty,
    )
    ask = functools.partial(
        resumable_map,
        rows,
        functools.partial(engine.answer, call=call),
        schema=COMPLETIONS,
        folder=work_folder(output, f"{task}-{attempt}"),
        rows_per_block=engine.rows_per_block,
        needs=engine.needs(),
        purpose=f"{task} generation",
        say=say,
        is_durable=lambda replies: replies["final"],
        lost=lambda ids, reason: completions(ids, [Reply.failed(reason)]),
    )
    say(f"{task}: pass {attempt + 1}, {rows.num_rows} prompts")
    replies = ask()
    lost = _lost(replies).num_rows
    if 0 < lost <= options.max_reject_rate * request.rows.num_rows and lost < rows.num_rows:
        say(f"{task}: {lost} prompts without an answer are sent once more")
        replies = ask()
    return replies


def _to_ask_again(rows: pa.Table, answers: pa.Table) -> pa.Table:
    """The rows of a pass whose answer was rejected; those that did not come to their end are ``curbed`` from now on."""
    rejected = answers.filter(pc.is_in(answers["status"], pa.array(["invalid", "truncated"])))
    is_cut = pa.array([status == "truncated" or runs_on(reason) for status, reason in _reasons(rejected)], pa.bool_())
    again = rows.filter(pc.is_in(rows["id"], rejected["id"].combine_chunks()))
    endless = pc.is_in(again["id"], rejected["id"].filter(is_cut).combine_chunks())
    return again.set_column(again.column_names.index("curbed"), "curbed", pc.or_(again["curbed"], endless))


def _reasons(answers: pa.Table) -> zip[tuple[str, str]]:
    return zip(answers["status"].to_pylist(), answers["reason"].to_pylist(), strict=True)


def answer_counts(answers: pa.Table) -> dict[str, int | float]:
    """The counts that a stage reports of its answers.

    Args:
        answers: the columns :data:`COUNTED` of :data:`ANSWERS`.

    Returns:
        Rows by status; ``retried``, the rows that took more than one attempt; tokens over all attempts.
    """
    by_status = {status: int(pc.sum(pc.equal(answers["status"], status)).as_py() or 0) for status in STATUSES}
    return {
        **by_status,
        "retried": int(pc.sum(pc.greater(answers["attempts"], 1)).as_py() or 0),
        "prompt_tokens": int(pc.sum(answers["prompt_tokens"]).as_py() or 0),
        "output_tokens": int(pc.sum(answers["output_tokens"]).as_py() or 0),
    }


def _checked(request: Request, replies: pa.Table, attempts: int) -> pa.Table:
    """Replies, a table of :data:`COMPLETIONS`, as rows of :data:`ANSWERS`; a part at a time, as strings take memory."""
    slices = (replies.slice(first, _AT_ONCE) for first in range(0, replies.num_rows, _AT_ONCE))
    return pa.concat_tables([ANSWERS.empty_table(), *(_checked_rows(request, one, attempts) for one in slices)])


def _checked_rows(request: Request, replies: pa.Table, attempts: int) -> pa.Table:
    task, longest = request.renderer.task, longest_profile(request.max_output_tokens)
    parts = (replies[name].to_pylist() for name in ("text", "finish_reason", "error"))
    rows = zip(*parts, strict=True)
    parsed = [parse(task, text, finish, error, longest, request.examples) for text, finish, error in rows]
    columns: dict[str, Any] = {
        "id": replies["id"],
        "text": [answer.fields[ANSWER_FIELD[task]] for answer in parsed],
        "reasoning": [answer.fields["reasoning"] for answer in parsed],
        "status": [answer.status for answer in parsed],
        "reason": [answer.reason for answer in parsed],
        "excerpt": [answer.excerpt for answer in parsed],
        "attempts": np.full(replies.num_rows, attempts, np.int32),
        "prompt_tokens": replies["prompt_tokens"],
        "output_tokens": replies["output_tokens"],
    }
    return pa.table(columns).cast(ANSWERS)


def _merged(old: pa.Table, new: pa.Table) -> pa.Table:
    """The later answer of each row, with the tokens of all its attempts."""
    if old.num_rows == 0:
        return new
    before = np.searchsorted(old["id"].to_numpy(), new["id"].to_numpy())
    for name in ("prompt_tokens", "output_tokens"):
        total = pc.add(new[name], old[name].take(before))
        new = new.set_column(new.column_names.index(name), ANSWERS.field(name), total)
    kept = old.filter(pc.invert(pc.is_in(old["id"], new["id"])))
    return pa.concat_tables([kept, new]).sort_by("id")


def _lost(replies: pa.Table) -> pa.Table:
    """Those of prompts that were sent, or would have been, and that nothing came back for."""
    return replies.filter(pc.invert(replies["final"]))


def _commonest(table: pa.Table, name: str) -> pa.Table:
    """The rows with the value of a column that most rows have."""
    counts = table[name].value_counts()
    values, numbers = counts.field("values"), counts.field("counts")
    return table.filter(pc.equal(table[name], values[int(np.argmax(numbers.to_numpy()))]))


def _require_answers(task: Task, replies: pa.Table, rows: int, limit: float) -> None:
    """Raises EngineError where so many rows have no answer that the stage could not end well."""
    lost = _lost(replies)
    if lost.num_rows <= limit * rows and lost.num_rows < rows:
        return
    commonest = _commonest(lost, "error")
    raise EngineError(
        f"{task}: {lost.num_rows} of {rows} prompts got no answer; most often ({commonest.num_rows}) because: "
        f"{commonest['error'][0]}",
        "put that right and run the same command again, which keeps all answers and asks only what has none",
    )


def _require_few_rejects(task: Task, answers: pa.Table, limit: float) -> None:
    rejected = answers.filter(pc.not_equal(answers["status"], "ok"))
    if rejected.num_rows <= limit * answers.num_rows:
        return
    commonest = _commonest(rejected, "reason")
    excerpt = commonest["excerpt"][0].as_py()
    raise StageError(
        f"{task}: {rejected.num_rows} of {answers.num_rows} answers were rejected, more than "
        f"llm.max_reject_rate={limit:g}; most often ({commonest.num_rows}) because: {commonest['reason'][0]}"
        + (f" (an answer begins: {excerpt})" if excerpt else ""),
        "use a better model, more max_output_tokens, or a higher llm.max_reject_rate",
    )


def _warnings(task: Task, replies: pa.Table, rows: int) -> tuple[str, ...]:
    """What the engine noted, and what it left unanswered."""
    noted: Counter[str] = Counter()
    for entry in replies["note"].value_counts().to_pylist():
        noted.update(dict.fromkeys(entry["values"].splitlines(), entry["counts"]))
    found = [f"{task}: {note} ({number:,} of {replies.num_rows:,} requests)." for note, number in noted.items()]
    lost = _lost(replies)
    if lost.num_rows:
        found.append(
            f"{task}: {lost.num_rows:,} of {rows:,} prompts got no answer, for example because: {lost['error'][0]}; "
            "the stage is complete without them, delete its folder to ask again."
        )
    return tuple(found)


def sameness(task: Task, answers: pa.Table) -> list[str]:
    """A warning where most profiles are the same as others: they say nothing about their items or users.

    Args:
        task: what was written.
        answers: the columns ``text`` and ``status`` of :data:`ANSWERS`.
    """
    texts = answers.filter(pc.equal(answers["status"], "ok"))["text"]
    distinct = pc.count_distinct(texts).as_py()
    if task == "negative" or len(texts) < _SOME or distinct >= _DISTINCT * len(texts):
        return []
    return [
        f"{task}: only {distinct:,} of {len(texts):,} profiles are different ones, such as {texts[0].as_py()!r};"
        " use a better model, or look at profiles.examples, profiles.temperature and what the prompts show."
    ]
