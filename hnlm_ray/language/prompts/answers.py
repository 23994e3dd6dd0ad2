"""What the model must answer: one JSON schema per task, which the engine enforces and :func:`parse` checks again.

An engine without grammars writes more than the schema allows: :mod:`hnlm_ray.language.prompts.unwrapping` finds the
object in it, and keys that the schema does not have are ignored. The lengths of strings are bounded, so that a weak
model under a grammar does not write until its token limit. An answer that is cut off there all the same is
``truncated``; one that does not follow the schema is ``invalid``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hnlm_ray.language.prompts.quoting import clip, neutral, well_formed
from hnlm_ray.language.prompts.soundness import MOST_CHARS, copy_of, fault_of, loop_of, whole_sentences
from hnlm_ray.language.prompts.unwrapping import find_object
from hnlm_ray.language.prompts.wording import ANSWER_FIELD, Reasoning, Task

__all__ = ["Answer", "NegativeAnswer", "ProfileAnswer", "json_schema", "longest_profile", "parse"]

Status = Literal["ok", "invalid", "truncated", "failed"]
_CHARS_PER_TOKEN = 4
"""Of English, in the vocabularies of current models."""
_KEYWORDS = ("type", "minLength", "maxLength")
_EXCERPT_CHARS = 200
_REASON_CHARS = 300


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class ProfileAnswer(_Form):
    """A profile of an item or of a user."""

    reasoning: str = Field(default="", max_length=300)
    summary: str = Field(min_length=1, max_length=MOST_CHARS)


class NegativeAnswer(_Form):
    """The name of a hard negative, or "None"."""

    reasoning: str = Field(default="", max_length=300)
    hard_negative: str = Field(max_length=160)


_FORMS: dict[Task, type[_Form]] = {
    "item_profile": ProfileAnswer,
    "user_profile": ProfileAnswer,
    "negative": NegativeAnswer,
}


@dataclass(frozen=True)
class Answer:
    """One checked answer.

    Attributes:
        status: ``ok``, ``invalid``, ``truncated``, or ``failed`` where there is no answer at all.
        reason: why the status is not ``ok``; "" where it is.
        fields: the strings of the answer by the names of the schema, each "" unless the status is ``ok``.
        excerpt: the first 200 characters of what the model wrote, "" where the status is ``ok``.
    """

    status: Status
    reason: str
    fields: dict[str, str]
    excerpt: str = ""


def longest_profile(max_output_tokens: int) -> int:
    """The most characters of a profile, so that one without a reason before it ends before its tokens do."""
    return min(MOST_CHARS, _CHARS_PER_TOKEN * max_output_tokens)


def json_schema(
    task: Task, reasoning: Reasoning = "first", choices: Sequence[str] = (), longest: int = MOST_CHARS
) -> dict[str, Any]:
    """The JSON schema of a task's answer, with the few keywords that grammars of engines understand.

    Args:
        task: what is asked.
        reasoning: where the answer holds its reason; behind the rest, it may be left out.
        choices: what a hard negative must be one of; () for any name.
        longest: characters of a profile, from :func:`longest_profile`.
    """
    found = _FORMS[task].model_json_schema()["properties"]
    rules = {name: {key: found[name][key] for key in _KEYWORDS if key in found[name]} for name in found}
    answer = ANSWER_FIELD[task]
    if task != "negative":
        rules[answer]["maxLength"] = longest
    elif choices:
        rules[answer] = {"type": "string", "enum": list(choices)}
    names = {"first": ["reasoning", answer], "last": [answer, "reasoning"], "none": [answer]}[reasoning]
    return {
        "type": "object",
        "properties": {name: rules[name] for name in names},
        "required": names if reasoning == "first" else [answer],
        "additionalProperties": False,
    }


def parse(
    task: Task,
    text: str,
    finish_reason: str,
    error: str = "",
    longest: int = MOST_CHARS,
    examples: Sequence[str] = (),
) -> Answer:
    """Check what an engine returned for one row.

    A profile that reached its greatest length keeps its whole sentences, and one that was cut off in the reason behind
    it is whole.

    Args:
        task: what the prompt was about.
        text: what the model wrote.
        finish_reason: ``length`` if the token limit cut the text off.
        error: why there is no answer, or "".
        longest: characters of a profile, from :func:`longest_profile`.
        examples: answers of the worked examples in the prompt, which a profile must not copy.

    Returns:
        The answer; its strings have single spaces and nothing that a chat template could take for a role.
    """
    if error:
        return _rejected(task, "failed", error)
    if finish_reason == "length":
        if (whole := _before_reasoning(task, text)) is None:
            return _rejected(task, "truncated", "the answer reached the token limit", text)
        text = whole
    model = _FORMS[task]
    try:
        form = model.model_validate(_storable(find_object(text, model.model_fields)))
    except (ValueError, RecursionError) as problem:
        return _rejected(task, "invalid", _first_problem(problem), text)
    fields = {name: " ".join(_plain(value).split()) for name, value in form.model_dump().items()}
    name = ANSWER_FIELD[task]
    if name == "summary":
        fields[name] = whole_sentences(fields[name], longest)
        fault = fault_of(fields[name], longest) or copy_of(fields[name], examples)
    else:
        fault = loop_of(fields[name])
    if fault:
        return _rejected(task, "invalid", f"{name}: {fault}", text)
    return Answer("ok", "", fields)


def _before_reasoning(task: Task, text: str) -> str | None:
    """The answer without the reason behind it that was cut off; None where something else was."""
    head, mark, _ = text.rpartition(',"reasoning":')
    return f"{head}}}" if mark and head.startswith(f'{{"{ANSWER_FIELD[task]}":') else None


def _rejected(task: Task, status: Status, reason: str, text: str = "") -> Answer:
    fields = dict.fromkeys(_FORMS[task].model_fields, "")
    excerpt = clip(_plain(text[: 2 * _EXCERPT_CHARS]), _EXCERPT_CHARS)
    return Answer(status, _plain(reason)[:_REASON_CHARS], fields, excerpt)


def _storable(answer: Any) -> Any:
    """The answer without lone halves of surrogate pairs, which JSON can spell and UTF-8 cannot."""
    if not isinstance(answer, dict):
        return answer
    return {key: well_formed(value) if isinstance(value, str) else value for key, value in answer.items()}


def _plain(text: str) -> str:
    """Harmless text that can be stored."""
    return neutral(well_formed(text))


def _first_problem(problem: ValueError | RecursionError) -> str:
    if not isinstance(problem, ValidationError):
        return f"not JSON: {getattr(problem, 'msg', problem)}"
    detail = problem.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in detail["loc"]) or "answer"
    return f"{where}: {detail['msg']}"
