"""Read what an OpenAI-compatible server sends: an answer, or a failure with a reason, whatever the bytes are."""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hnlm_ray.language.engines.rendering import Reply
from hnlm_ray.language.prompts.quoting import clip, neutral, well_formed
from hnlm_ray.language.prompts.unwrapping import load_json

__all__ = ["Failure", "message_of", "read_failure", "read_reply"]

_QUOTED_CHARS = 240
_MOST_CHARS = 2**20
"""Of an answer; the longest of the schema is a thousandth of it."""
_MOST_TOKENS = 2**24
"""A greater count is nonsense, and is not counted."""
_PASSING = frozenset({408, 409, 425, 429})
"""Statuses after which the same request may be answered, like those from 500."""
_PASSING_WORDS = re.compile(
    r"rate.?limit|overload|capacity|temporar|timed? ?out|unavailable|server_error|internal|try again", re.IGNORECASE
)
_TAG = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})


@dataclass(frozen=True)
class Failure:
    """A request without an answer.

    Attributes:
        reason: what the server said.
        status: of HTTP; 0 where there was none.
        is_passing: the same request may be answered later.
        wait_s: for how many seconds the server asks to send nothing, if it does.
        named: the field of the request that it refuses, if it says.
    """

    reason: str
    status: int = 0
    is_passing: bool = True
    wait_s: float | None = None
    named: str = ""

    @property
    def says_wait(self) -> bool:
        """Whether the server is only too busy for this request."""
        return self.status == 429 or self.wait_s is not None


def read_failure(status: int, headers: Mapping[str, str], content: bytes) -> Failure:
    """A reply with a status other than 200.

    Args:
        status: of HTTP.
        headers: with keys in lower case, or a mapping that ignores case.
        content: the decoded body.
    """
    said, named = message_of(content)
    if 300 <= status < 400:
        said = f"moved to {clip(neutral(headers.get('location', '')), _QUOTED_CHARS)}"
    reason = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    is_passing = status in _PASSING or status >= 500
    wait_s = _wait(headers) if is_passing else None
    return Failure(reason, status, is_passing, wait_s, named)


def read_reply(content: bytes) -> Reply | Failure:
    """The decoded body of a reply with status 200."""
    try:
        body = load_json(content)
        choice = _first_choice(body)
        if failure := _error_inside(body) or _error_inside(choice):
            return failure
        text = _text(choice or {})
    except RecursionError:
        return _none("JSON that is nested too deeply", content)
    except ValueError:  # bytes that are no text, too
        is_cut = content.strip()[:1] in (b"", b"{")
        is_stream = content.lstrip()[:6] in (b"data: ", b"event:")
        return _none("an event stream" if is_stream else "no JSON", content, is_passing=is_cut)
    if text is None:
        return _none("another object", content)
    if len(text) > _MOST_CHARS:
        return Failure(f"HTTP 200 with an answer of {len(text):,} characters", 200, is_passing=False)
    reason, usage = (choice or {}).get("finish_reason"), body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(
        well_formed(text),
        "length" if isinstance(reason, str) and reason.casefold() in _CUT else "stop",
        prompt_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
    )


def message_of(content: bytes) -> tuple[str, str]:
    """What a server says in the body of an error, on one line, and the field of the request that it names.

    Args:
        content: JSON in one of the usual forms, HTML, or text.
    """
    try:
        body = load_json(content)
    except ValueError:
        body = _TAG.sub(" ", content[: 16 * _QUOTED_CHARS].decode("utf-8", "replace"))
    message, named = _message(body)
    return _line(message), named


def _message(body: Any) -> tuple[str, str]:
    """The words and the name in one of the forms: OpenAI's, FastAPI's, a string."""
    if not isinstance(body, dict):
        return body if isinstance(body, str) else _dumped(body), ""
    inner = next((body[key] for key in ("error", "detail", "message", "msg") if body.get(key)), None)
    if isinstance(inner, list) and inner and isinstance(inner[0], dict):
        inner = inner[0]
    if isinstance(inner, dict):
        place = inner.get("loc")
        named = inner.get("param") or (place[-1] if isinstance(place, list) and place else "")
        words = next((inner[key] for key in ("message", "msg", "detail", "error") if inner.get(key)), None)
        if words is None:
            words = inner
        elif isinstance(place, list):
            words = f"{'.'.join(map(str, place))}: {words}"
        return words if isinstance(words, str) else _dumped(words), named if isinstance(named, str) else ""
    if inner is not None:
        return inner if isinstance(inner, str) else _dumped(inner), ""
    return _dumped(body) if body else "", ""


def _dumped(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "nested too deeply"


def _line(text: str) -> str:
    return clip(" ".join(neutral(well_formed(text[: 16 * _QUOTED_CHARS])).split()), _QUOTED_CHARS)


def _none(what: str, content: bytes, *, is_passing: bool = False) -> Failure:
    said = _line(_TAG.sub(" ", content[: 16 * _QUOTED_CHARS].decode("utf-8", "replace")))
    reason = f"HTTP 200 with {what} instead of a chat completion" + (f": {said}" if said else "")
    return Failure(reason, 200, is_passing)


def _first_choice(body: Any) -> dict[str, Any] | None:
    choices = body.get("choices") if isinstance(body, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _error_inside(body: Any) -> Failure | None:
    """The failure that stands in an object instead of an answer, under status 200."""
    if not isinstance(body, dict) or not body.get("error"):
        return None
    error = body["error"]
    said, named = _message(body)
    parts = [error.get(key) for key in ("code", "status", "type")] if isinstance(error, dict) else []
    codes = [int(part) for part in map(str, parts) if re.fullmatch("[1-5][0-9]{2}", part)]
    code = codes[0] if codes else 200
    words = " ".join([said, *(part for part in parts if isinstance(part, str))])
    is_passing = code in _PASSING or code >= 500 or (code == 200 and bool(_PASSING_WORDS.search(words)))
    status = 429 if code == 200 and re.search("rate.?limit", words, re.IGNORECASE) else code
    shown = f"HTTP 200 with an error{f' {code}' if codes else ''}"
    return Failure(f"{shown}: {_line(said)}", status, is_passing, named=named)


def _text(choice: Mapping[str, Any]) -> str | None:
    """What the model wrote; thoughts, where it wrote nothing else; None where there is no message."""
    message = choice.get("message")
    if not isinstance(message, dict):
        text = choice.get("text")
        return text if isinstance(text, str) else None
    text = _joined(message.get("content"))
    if text.strip():
        return text
    thoughts = _joined(message.get("reasoning_content")) or _joined(message.get("reasoning"))
    if thoughts.lstrip().startswith("{"):  # a server that takes the whole answer for thoughts
        return thoughts
    if thoughts:
        return f"<think>{thoughts}"
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        return refusal
    return text if "content" in message else None


def _joined(content: Any) -> str:
    """The text of a message's content: a string, parts, or an object that some servers have parsed already."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(map(_joined, content))
    if isinstance(content, dict):
        if "text" in content and content.get("type", "text") in ("text", "output_text"):
            return _joined(content["text"])
        return "" if "type" in content else _dumped(content)
    return "" if content is None else _dumped(content)


def _count(value: Any) -> int:
    """A count of tokens; 0 where the server gives none that can be one."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) else math.nan
    except (ValueError, OverflowError):
        return 0
    return int(number) if 0 <= number < _MOST_TOKENS else 0


def _wait(headers: Mapping[str, str]) -> float | None:
    """The seconds that ``Retry-After`` asks for, as a number or as a date."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / scale
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        moment = email.utils.parsedate_to_datetime(headers["retry-after"])
        return max(0.0, moment.timestamp() - time.time())
    except (KeyError, ValueError, TypeError, OverflowError, OSError):
        return None
