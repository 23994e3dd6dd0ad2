"""From request rows to checked answers: every row comes out, with a status and, if it was rejected, the reason.

Only answers are durable. A row without one, because the engine or endpoint failed, is asked again when the same command
is run again, and once more at the end of a pass if there are few of them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray import seeds
from hnlm_ray.cluster.resumable import resumable_map, work_folder
from hnlm_ray.config.tree import Config
from hnlm_ray.language.engines.protocol import COMPLETIONS, Call, Engine, Renderer, Sampling
from hnlm_ray.language.engines.rendering import Reply, completions
from hnlm_ray.language.prompts.answers import longest_profile, parse
from hnlm_ray.language.prompts.wording import ANSWER_FIELD, Task
from hnlm_ray.language.verdicts import ANSWERS, Again, Told, rejected_rows, require_few_rejects, sameness
from hnlm_ray.run.places import Folder
from hnlm_ray.run.progress import Say
from hnlm_ray.run.rows import Located, Rows, write_parts
from hnlm_ray.run.store import Artifact

__all__ = ["Request", "Written", "generate"]

_ANSWERED = "answers.parquet"


@dataclass(frozen=True)
class Request:
    """What a language model is to write.

    Attributes:
        rows: one per answer: its number ``id``, and the columns that the renderer reads.
        renderer: turns rows into prompts, all of one task.
        max_output_tokens: after so many tokens an answer is cut off.
        temperature: of the first pass; 0 takes the most probable token each time.
        examples: answers of the worked examples in the prompts, which a profile must not copy.
    """

    rows: Rows
    renderer: Renderer
    max_output_tokens: int
    temperature: float = 0.0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """What a model wrote.

    Attributes:
        answers: one row of :data:`ANSWERS` per request row, in the work folder of the stage.
        warnings: for the summary of the stage.
    """

    answers: Located
    warnings: tuple[str, ...]


def generate(request: Request, engine: Engine, config: Config, output: Artifact, say: Say) -> Written:
    """Have an answer written for every row, over any number of interrupted attempts.

    A row whose answer is rejected is asked again in up to ``llm.retries`` further passes, each with another seed and at
    ``llm.retry_temperature`` or more. Where it was cut or repeated itself, the answer is asked for without a reason and
    at ``llm.retry_frequency_penalty`` or more. An engine is started only for rows that have no durable answer yet.

    Prompts and answers are read and written a part at a time; this process holds numbers of rows.

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
    task, limit = request.renderer.task, config.llm.max_reject_rate
    told = Told(task, request.rows.ids.size)
    answers, again = list[Located](), Again.first(request.rows.ids)
    for attempt in range(1 + config.llm.retries):
        if again.ids.size == 0:
            break
        replies = _answered_pass(request, again, attempt, engine, config, output, say)
        checked, again = _checked_pass(request, replies, again, attempt, output, told)
        told.require_answers(limit)
        answers.append(checked)
    if not answers:
        return Written(Located.of(output.filesystem, ANSWERS, []), ())
    together = Located.together(answers)
    require_few_rejects(task, together.parts(["status", "reason", "excerpt"]), limit)
    return Written(together, (*told.warnings(), *sameness(task, together.parts(["text", "status"]))))


def _answered_pass(
    request: Request, again: Again, attempt: int, engine: Engine, config: Config, output: Artifact,
    say: Say,
) -> Located:  # fmt: skip
    """One pass over some rows: a row of :data:`COMPLETIONS` each."""
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
        again.rows_of(request.rows),
        functools.partial(engine.answer, call=call),
        schema=COMPLETIONS,
        folder=_folder(output, task, attempt),
        rows_per_block=engine.rows_per_block,
        needs=engine.needs(),
        purpose=f"{task} generation",
        say=say,
        is_durable=lambda replies: replies["final"],
        lost=lambda ids, reason: completions(ids, [Reply.failed(reason)]),
    )
    say(f"{task}: pass {attempt + 1}, {again.ids.size} prompts")
    replies = ask()
    lost = int((~replies.durable).sum())
    if 0 < lost <= options.max_reject_rate * request.rows.ids.size and lost < again.ids.size:
        say(f"{task}: {lost} prompts without an answer are sent once more")
        replies = ask()
    return replies


def _folder(output: Artifact, task: Task, attempt: int) -> Folder:
    return work_folder(output, f"{task}-{attempt}")


def _checked_pass(
    request: Request, replies: Located, asked: Again, attempt: int, output: Artifact, told: Told
) -> tuple[Located, Again]:
    """The answers of a pass, which are written beside its replies, and the rows to ask again; ``told`` hears of all."""
    folder, rejected = _folder(output, request.renderer.task, attempt), list[pa.Table]()
    ids = list[npt.NDArray[np.int64]]()

    def answers() -> Iterator[pa.Table]:
        for part in replies.parts():
            told.add(part)
            checked = asked.with_earlier_tokens(_checked_rows(request, part, attempt + 1))
            ids.append(checked["id"].to_numpy())
            rejected.append(rejected_rows(checked))
            yield checked

    with folder.replacing(_ANSWERED) as temporary:
        write_parts(answers(), temporary, output.filesystem, ANSWERS)
    found = [((f"{folder.path}/{_ANSWERED}", number), one, np.ones(one.size, bool)) for number, one in enumerate(ids)]
    return Located.of(output.filesystem, ANSWERS, found), asked.next(pa.concat_tables(rejected))


def _checked_rows(request: Request, replies: pa.Table, attempts: int) -> pa.Table:
    """Replies, a table of :data:`COMPLETIONS`, as rows of :data:`ANSWERS`."""
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
