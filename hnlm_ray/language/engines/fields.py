"""The fields of the requests to an endpoint, and what becomes of one that the server refuses."""

from __future__ import annotations

import re
from typing import Any

from hnlm_ray.config.language import LLMConfig
from hnlm_ray.language.engines.chat import Failure
from hnlm_ray.language.engines.protocol import Call
from hnlm_ray.language.prompts.render import Prompt

__all__ = ["Fields"]

_REFUSING = (400, 404, 422, 501)
_DROPPED = (
    "seed", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty",
)  # fmt: skip
_REFUSES = re.compile(
    r"n.t support|unsupported|not (?:permitted|allowed|available|recogni[sz]ed)|un(?:known|recogni[sz]ed|expected)"
    r"|extra|forbidden|deprecated|invalid (?:param|argument|field|key)|max_completion_tokens",
    re.IGNORECASE,
)
_FORMS = {"auto": ("json_schema", "json_object", "none")}
_LIMITS = {"auto": ("max_tokens", "max_completion_tokens")}


class Fields:
    """What is sent with each prompt. A field that the server refuses is replaced or left out from then on.

    Attributes:
        version: counts the changes, so that a refusal of an earlier form is told from one of the present form.
    """

    def __init__(self, config: LLMConfig, call: Call) -> None:
        http = config.http
        self.version = 0
        self._forms = list(_FORMS.get(http.response_format, (http.response_format,)))
        self._limits = list(_LIMITS.get(http.max_tokens_field, (http.max_tokens_field,)))
        self._limit = call.max_output_tokens
        self._call = call
        self._refused: set[str] = set()
        self._added: dict[str, Any] = dict(http.extra_body)
        if config.chat_template_kwargs:
            self._added = {"chat_template_kwargs": config.chat_template_kwargs} | self._added
        self._model = config.model
        self._changes: list[str] = []

    def of(self, prompt: Prompt, seed: int) -> dict[str, Any]:
        """The body of one request."""
        body: dict[str, Any] = {"model": self._model, "messages": prompt.messages(), self._limits[0]: self._limit}
        options = self._call.sampling_of(prompt).sent() | {"seed": seed}
        body |= {name: value for name, value in options.items() if name not in self._refused}
        match self._forms[0]:
            case "json_schema":
                schema = {"name": self._call.renderer.task, "schema": self._call.schema_of(prompt), "strict": True}
                body["response_format"] = {"type": "json_schema", "json_schema": schema}
            case "json_object":
                body["response_format"] = {"type": "json_object"}
        body |= self._added
        return {name: value for name, value in body.items() if value is not None}

    @property
    def note(self) -> str:
        """What is sent otherwise than asked for; "" where nothing is."""
        return f"the endpoint refuses {' and '.join(self._changes)}" if self._changes else ""

    def adapt(self, failure: Failure) -> bool:
        """Change what a refusal names.

        Returns:
            whether there was something to change.
        """
        change = self._change(failure) if failure.status in _REFUSING else None
        if change is not None:
            self._changes.append(change)
            self.version += 1
        return change is not None

    def _change(self, failure: Failure) -> str | None:
        if len(self._forms) > 1 and re.search(r"response_format|json_schema|json_object", _all(failure)):
            refused = self._forms.pop(0)
            return f"response_format {refused}, so {self._forms[0]} was sent"
        if not _REFUSES.search(failure.reason):
            return None
        if len(self._limits) > 1 and _names(failure, self._limits[0]):
            refused = self._limits.pop(0)
            return f"{refused}, so {self._limits[0]} was sent"
        for name in _DROPPED:
            if name not in self._refused and name not in self._added and _names(failure, name):
                self._refused.add(name)
                return f"{name}, so its own default holds"
        return None


def _all(failure: Failure) -> str:
    return f"{failure.named} {failure.reason}"


def _names(failure: Failure, field: str) -> bool:
    """Whether a refusal is about a field: ``seed`` may also stand in a product's title that the server repeats."""
    if failure.named:
        return field in re.split(r"\W", failure.named)
    quoted = rf"""['"`]{field}['"`]|\b{field}\b:? (?:is|was|not|extra)|(?:parameter|field|argument|:) {field}\b"""
    return bool(re.search(quoted, failure.reason, re.IGNORECASE))
