"""What became of answers: which are asked again, what is counted, when there are too few, and what to warn of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.errors import EngineError, StageError
from hnlm_ray.language.prompts.soundness import runs_on
from hnlm_ray.language.prompts.wording import Task
from hnlm_ray.run.rows import Rows, is_among

__all__ = [
    "ANSWERS",
    "COUNTED",
    "Again",
    "Told",
    "answer_counts",
    "answered_rows",
    "rejected_rows",
    "require_few_rejects",
    "sameness",
]

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
"""A checked answer: one row per request."""

STATUSES = ("ok", "invalid", "truncated", "failed")
COUNTED = ["status", "attempts", "prompt_tokens", "output_tokens"]
"""Columns that :func:`answer_counts` reads."""
_TOKENS = ("prompt_tokens", "output_tokens")
_REJECTED = pa.schema(
    [("id", pa.int64()), ("prompt_tokens", pa.int32()), ("output_tokens", pa.int32()), ("endless", pa.bool_())]
)
_SOME, _DISTINCT = 50, 0.5
"""From so many profiles on, the share that must be different from each other."""


def rejected_rows(answers: pa.Table) -> pa.Table:
    """Of answers that are asked for again: the number, the tokens so far, and whether it came to no end.

    Args:
        answers: a table of :data:`ANSWERS`.
    """
    rejected = answers.filter(pc.is_in(answers["status"], pa.array(["invalid", "truncated"])))
    reasons = zip(rejected["status"].to_pylist(), rejected["reason"].to_pylist(), strict=True)
    endless = [status == "truncated" or runs_on(reason) for status, reason in reasons]
    columns = [rejected[name] for name in ("id", *_TOKENS)]
    return pa.Table.from_arrays([*columns, pa.chunked_array([pa.array(endless, pa.bool_())])], schema=_REJECTED)


@dataclass(frozen=True)
class Again:
    """The rows of a pass, and what earlier passes over them came to.

    Attributes:
        ids: (n,) int64, ascending.
        curbed: ids of those that once did not come to their end, ascending.
        before: their numbers and tokens so far; no row in the first pass.
    """

    ids: npt.NDArray[np.int64]
    curbed: npt.NDArray[np.int64]
    before: pa.Table

    @classmethod
    def first(cls, ids: npt.NDArray[np.int64]) -> Again:
        """All rows, of which nothing is known."""
        return cls(ids, np.zeros(0, np.int64), _REJECTED.empty_table())

    def next(self, rejected: pa.Table) -> Again:
        """The rows of the next pass.

        Args:
            rejected: from :func:`rejected_rows`, sorted by id.
        """
        ids = rejected["id"].to_numpy()
        endless = np.asarray(rejected["endless"].combine_chunks(), dtype=bool)
        return Again(ids, ids[endless | is_among(ids, self.curbed)], rejected)

    def rows_of(self, rows: Rows) -> Rows:
        """The request rows of the pass, with the column ``curbed``."""

        def parts() -> Iterator[pa.Table]:
            for part in rows.parts():
                curbed = is_among(part["id"].to_numpy(), self.curbed)
                yield part.append_column("curbed", pa.array(curbed, pa.bool_()))

        return Rows(self.ids, parts)

    def with_earlier_tokens(self, answers: pa.Table) -> pa.Table:
        """Answers of the pass, a part of them, with the tokens of all attempts."""
        if self.before.num_rows == 0:
            return answers
        places = pa.array(np.searchsorted(self.ids, answers["id"].to_numpy()))
        for name in _TOKENS:
            total = pc.add(answers[name], self.before[name].take(places))
            answers = answers.set_column(answers.column_names.index(name), ANSWERS.field(name), total)
        return answers


class Told:
    """What the replies of all passes tell beside their texts."""

    def __init__(self, task: Task, rows: int) -> None:
        self._task, self._rows = task, rows
        self._replies = 0
        self._errors: Counter[str] = Counter()
        self._notes: Counter[str] = Counter()

    def add(self, replies: pa.Table) -> None:
        """Count replies, rows of :data:`hnlm_ray.language.engines.protocol.COMPLETIONS`."""
        self._replies += replies.num_rows
        self._errors.update(replies.filter(pc.invert(replies["final"]))["error"].to_pylist())
        for entry in replies["note"].value_counts().to_pylist():
            for note in dict.fromkeys(entry["values"].splitlines()):
                self._notes[note] += entry["counts"]

    def require_answers(self, limit: float) -> None:
        """Raises EngineError where so many rows have no answer that the stage could not end well."""
        lost = self._errors.total()
        if lost <= limit * self._rows and lost < self._rows:
            return
        ((error, count),) = self._errors.most_common(1)
        raise EngineError(
            f"{self._task}: {lost} of {self._rows} prompts got no answer; most often ({count}) because: {error}",
            "put that right and run the same command again, which keeps all answers and asks only what has none",
        )

    def warnings(self) -> list[str]:
        """What the engine noted, and what it left unanswered."""
        notes = self._notes.items()
        found = [f"{self._task}: {note} ({number:,} of {self._replies:,} requests)." for note, number in notes]
        if lost := self._errors.total():
            found.append(
                f"{self._task}: {lost:,} of {self._rows:,} prompts got no answer, for example because:"
                f" {next(iter(self._errors))}; the stage is complete without them, delete its folder to ask again."
            )
        return found


def require_few_rejects(task: Task, answers: Iterable[pa.Table], limit: float) -> None:
    """Raises StageError where a larger share of the answers than the limit cannot be used.

    Args:
        task: what was written.
        answers: parts with the columns ``status``, ``reason`` and ``excerpt`` of :data:`ANSWERS`.
        limit: ``llm.max_reject_rate``.
    """
    rows, reasons, excerpts = 0, Counter[str](), dict[str, str]()
    for part in answers:
        rows += part.num_rows
        rejected = part.filter(pc.not_equal(part["status"], "ok"))
        for reason, excerpt in zip(rejected["reason"].to_pylist(), rejected["excerpt"].to_pylist(), strict=True):
            reasons[reason] += 1
            excerpts.setdefault(reason, excerpt)
    if reasons.total() <= limit * rows:
        return
    ((reason, count),) = reasons.most_common(1)
    excerpt = excerpts[reason]
    raise StageError(
        f"{task}: {reasons.total()} of {rows} answers were rejected, more than llm.max_reject_rate={limit:g}; "
        f"most often ({count}) because: {reason}" + (f" (an answer begins: {excerpt})" if excerpt else ""),
        "use a better model, more max_output_tokens, or a higher llm.max_reject_rate",
    )


def sameness(task: Task, answers: Iterable[pa.Table]) -> list[str]:
    """A warning where most profiles are the same as others: they say nothing about their items or users.

    Args:
        task: what was written.
        answers: parts with the columns ``text`` and ``status`` of :data:`ANSWERS`.
    """
    if task == "negative":
        return []
    hashes, example = [np.zeros(0, np.int64)], ""
    for part in answers:
        texts = part.filter(pc.equal(part["status"], "ok"))["text"].to_pylist()
        example = example or next(iter(texts), "")
        hashes.append(np.fromiter(map(hash, texts), np.int64, len(texts)))
    known = np.concatenate(hashes)
    distinct = np.unique(known).size
    if known.size < _SOME or distinct >= _DISTINCT * known.size:
        return []
    return [
        f"{task}: only {distinct:,} of {known.size:,} profiles are different ones, such as {example!r};"
        " use a better model, or look at profiles.examples, profiles.temperature and what the prompts show."
    ]


def answer_counts(answers: Iterable[pa.Table]) -> dict[str, int | float]:
    """The counts that a stage reports of its answers.

    Args:
        answers: parts with the columns :data:`COUNTED` of :data:`ANSWERS`.

    Returns:
        Rows by status; ``retried``, the rows that took more than one attempt; tokens over all attempts.
    """
    counts: dict[str, int | float] = dict.fromkeys((*STATUSES, "retried", *_TOKENS), 0)
    for part in answers:
        for entry in part["status"].value_counts().to_pylist():
            counts[entry["values"]] += entry["counts"]
        counts["retried"] += int(pc.sum(pc.greater(part["attempts"], 1)).as_py() or 0)
        for name in _TOKENS:
            counts[name] += int(pc.sum(part[name]).as_py() or 0)
    return counts


def answered_rows(counts: dict[str, int | float]) -> int:
    """How many rows the counts of :func:`answer_counts` are of."""
    return int(sum(counts[status] for status in STATUSES))
