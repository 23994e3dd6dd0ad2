"""What the model must answer: one JSON schema per task, which the engine enforces and :func:`parse` checks again.

The lengths of strings are bounded, so that a weak model under a grammar does not write until its token limit. An answer
that is cut off there all the same is ``truncated``; one that does not follow the schema is ``invalid``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hnlm_ray.language.prompts.quoting import neutral
from hnlm_ray.language.prompts.render import Task

__all__ = ["Answer", "NegativeAnswer", "ProfileAnswer", "json_schema", "parse"]

Status = Literal["ok", "invalid", "truncated", "failed"]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ProfileAnswer(_Form):
    """A profile of an item or of a user."""

    reasoning: str = Field(max_length=300)
    summary: str = Field(min_length=1, max_length=700)


class NegativeAnswer(_Form):
    """The name of a hard negative, or "None"."""

    reasoning: str = Field(max_length=300)
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
    """

    status: Status
    reason: str
    fields: dict[str, str]


def json_schema(task: Task) -> dict[str, Any]:
    """The JSON schema of a task's answer, with the few keywords that grammars of engines understand."""
    schema = _FORMS[task].model_json_schema()
    return {
        "type": "object",
        "properties": {
            name: {key: value for key, value in rules.items() if key in ("type", "minLength", "maxLength")}
            for name, rules in schema["properties"].items()
        },
        "required": schema["required"],
        "additionalProperties": False,
    }


def parse(task: Task, text: str, finish_reason: str, error: str = "") -> Answer:
    """Check what an engine returned for one row.

    Args:
        task: what the prompt was about.
        text: what the model wrote.
        finish_reason: ``length`` if the token limit cut the text off.
        error: why there is no answer, or "".

    Returns:
        The answer; its strings have single spaces and nothing that a chat template could take for a role.
    """
    if error:
        return _rejected(task, "failed", neutral(error)[:300])
    if finish_reason == "length":
        return _rejected(task, "truncated", "the answer reached the token limit")
    try:
        form = _FORMS[task].model_validate(json.loads(text, strict=False))
    except json.JSONDecodeError as problem:
        return _rejected(task, "invalid", f"not JSON: {problem.msg} at character {problem.pos}")
    except (ValidationError, RecursionError) as problem:
        return _rejected(task, "invalid", _first_problem(problem))
    fields = {name: " ".join(neutral(value).split()) for name, value in form.model_dump().items()}
    if "summary" in fields and not fields["summary"]:
        return _rejected(task, "invalid", "summary: is blank")
    return Answer("ok", "", fields)


def _rejected(task: Task, status: Status, reason: str) -> Answer:
    return Answer(status, reason, dict.fromkeys(_FORMS[task].model_fields, ""))


def _first_problem(problem: ValidationError | RecursionError) -> str:
    if isinstance(problem, RecursionError):
        return "nested too deeply"
    detail = problem.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in detail["loc"]) or "answer"
    return f"{where}: {detail['msg']}"[:300]
