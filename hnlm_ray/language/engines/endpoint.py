"""An OpenAI-compatible server: a prompt goes in, and a reply comes out, whatever happens on the way."""

from __future__ import annotations

import asyncio
import time
import zlib
from dataclasses import replace

import httpx
from pydantic import SecretStr

from hnlm_ray import __version__
from hnlm_ray.config.language import HttpConfig
from hnlm_ray.language.engines.chat import Failure, read_failure, read_reply
from hnlm_ray.language.engines.fields import Fields
from hnlm_ray.language.engines.pace import Pace, backoff
from hnlm_ray.language.engines.rendering import Reply
from hnlm_ray.language.prompts.render import Prompt

__all__ = ["Endpoint", "headers", "route"]

_TRIES = 4
"""Of a request that fails while others are answered, or while none ever was."""
_FIRST = 8
"""Rows: when so many have failed, one of them for good, and none was answered, the rest is not sent."""
_OUTAGE = 3
"""Rows that fail with no answer between them: the server's fault and not theirs."""
_MOST_BYTES = 4 * 2**20
"""Of a body, before and after it is unpacked."""
_GZIP_OR_ZLIB = 47
"""The ``wbits`` of zlib that read both headers."""
_MOST_CHARS_PER_TOKEN = 5
"""English has about 4 in the vocabularies of current models, other languages fewer."""
_LEAST_CONTEXT = 256
"""Tokens; a server that counts fewer does so for another reason, such as a cache."""
_CUT = (
    "the server counted fewer tokens than it was sent: it cuts prompts at its own context, as Ollama does at num_ctx; "
    "raise that to llm.max_model_len, or lower llm.max_model_len"
)


class _BodyError(Exception):
    """A body that is too long, or cannot be unpacked."""


def route(base: str, name: str) -> httpx.URL:
    """The address of a route such as ``chat/completions``; the query of the base stays at its end."""
    url = httpx.URL(base)
    return url.copy_with(path=f"{url.path.rstrip('/')}/{name}")


def headers(key: str) -> dict[str, str]:
    """Those of every request. No packed answer is asked for: answers are short, and a packed one can be a bomb."""
    return {"Authorization": f"Bearer {key}", "Accept-Encoding": "identity", "User-Agent": f"hnlm-ray/{__version__}"}


class Endpoint:
    """Sends prompts, repeats what may pass, and stops when nothing is answered any more.

    Attributes:
        down: why nothing is sent any more; None while the server is asked.
    """

    def __init__(self, http: HttpConfig, key: SecretStr, fields: Fields) -> None:
        self.down: str | None = None
        self._http, self._key, self._fields = http, key.get_secret_value(), fields
        self._url = route(http.url, "chat/completions")
        self._pace = Pace(http.concurrency)
        limits = httpx.Limits(max_connections=http.concurrency)
        self._client = httpx.AsyncClient(headers=headers(self._key), timeout=http.timeout_s, limits=limits)
        self._last_answer: float | None = None
        self._failing: set[int] = set()
        """Seeds, which name rows, of the requests that failed since the last answer."""
        self._answered_version = -1

    async def ask(self, prompt: Prompt, seed: int) -> Reply:
        """The answer to a prompt, or why there is none; returns when there is nothing to wait for."""
        failures: list[float] = []
        while True:
            async with self._pace.place(comes_back=bool(failures)):
                outcome = await self._tried(prompt, seed, failures)
            if isinstance(outcome, Reply):
                return outcome
            await asyncio.sleep(outcome)  # without a place, so that other rows show whether the server answers any

    async def _tried(self, prompt: Prompt, seed: int, failures: list[float]) -> Reply | float:
        """The first tries, in one place: a server in trouble does not get all rows meanwhile.

        Args:
            prompt: to send.
            seed: of the sampling; it names the row.
            failures: the times of the row's failures; they are added to.

        Returns:
            the reply, or the seconds until the row may take a place again.
        """
        while self.down is None:
            version, body = self._fields.version, self._fields.of(prompt, seed)
            outcome = await self._sent(body)
            if isinstance(outcome, Reply):
                self._answered(version)
                return replace(outcome, note=self._note(prompt, outcome))
            if not outcome.is_passing and self._is_adapted(outcome, version):
                continue
            failures.append(time.monotonic())
            self._failing.add(seed)
            if not outcome.is_passing or self._is_hopeless(outcome, failures):
                return self._give_up(outcome, failures)
            pause = backoff(len(failures))
            if outcome.says_wait:
                self._pace.hold(pause if outcome.wait_s is None else outcome.wait_s)
                return 0.0
            if len(failures) >= _TRIES:
                return pause
            await asyncio.sleep(pause)
        return Reply.failed(self.down)

    def _answered(self, version: int) -> None:
        self._last_answer, self._answered_version = time.monotonic(), version
        self._failing.clear()
        self._pace.answered()

    def _note(self, prompt: Prompt, reply: Reply) -> str:
        sent = (len(prompt.system) + len(prompt.user)) / _MOST_CHARS_PER_TOKEN
        is_cut = _LEAST_CONTEXT <= reply.prompt_tokens < sent
        return "\n".join(note for note in (self._fields.note, _CUT if is_cut else "") if note)

    def _is_adapted(self, refusal: Failure, version: int) -> bool:
        """Whether the request has another form than the one that was refused, which nothing was answered to."""
        if version != self._fields.version:
            return True
        return self._answered_version != version and self._fields.adapt(refusal)

    def _is_hopeless(self, failure: Failure, failures: list[float]) -> bool:
        """Whether waiting longer is no use.

        A server that says that it is too busy is waited for as long as it answers anybody within the patience. Of other
        failures, one that others do not have is the row's own; one that all have may be an outage.
        """
        if self._is_out_of_patience(failure, failures):
            return True
        if len(failures) < _TRIES:
            return False
        if self._last_answer is None:
            return failure.wait_s is None
        is_its_own = self._last_answer > failures[1] or len(self._failing) < _OUTAGE
        return not failure.says_wait and is_its_own

    def _is_out_of_patience(self, failure: Failure, failures: list[float]) -> bool:
        waited = failures[-1] - max(failures[0], self._last_answer or 0.0)
        return waited + (failure.wait_s or 0.0) > self._http.patience_s

    def _give_up(self, failure: Failure, failures: list[float]) -> Reply:
        tries = len(failures)
        reason = failure.reason if tries == 1 else f"{failure.reason} ({tries} tries)"
        is_lost = self._last_answer is None and len(self._failing) >= _FIRST
        if is_lost or (failure.is_passing and self._is_out_of_patience(failure, failures)):
            self.down = reason
        return Reply.failed(reason)

    async def _sent(self, body: dict[str, object]) -> Reply | Failure:
        try:
            async with (
                asyncio.timeout(self._http.timeout_s),
                self._client.stream("POST", self._url, json=body) as response,
            ):
                content = await _content(response)
        except (TimeoutError, httpx.TimeoutException):
            return Failure(f"no answer in {self._http.timeout_s:g} s")
        except _BodyError as error:
            return Failure(f"HTTP {response.status_code} with {error}", is_passing=response.status_code >= 500)
        except (httpx.HTTPError, OSError) as error:
            return Failure(f"the connection failed ({type(error).__name__})")
        if response.status_code == httpx.codes.OK:
            outcome = read_reply(content)
        else:
            outcome = read_failure(response.status_code, response.headers, content)
        if isinstance(outcome, Failure):  # servers repeat what they were sent
            return replace(outcome, reason=outcome.reason.replace(self._key, "***"))
        return outcome


async def _content(response: httpx.Response) -> bytes:
    """The body, unpacked, read only as far as it may be long."""
    received = bytearray()
    async for part in response.aiter_raw():
        received += part
        if len(received) > _MOST_BYTES:
            raise _BodyError(f"more than {_MOST_BYTES:,} bytes")
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("", "identity"):
        return bytes(received)
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise _BodyError(f"a content encoding that was not asked for ({coding[:20]})")
    try:
        unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        content = unpacker.decompress(received, _MOST_BYTES)
    except zlib.error as error:
        raise _BodyError(f"broken {coding}") from error
    if unpacker.unconsumed_tail:
        raise _BodyError(f"more than {_MOST_BYTES:,} bytes")
    if not unpacker.eof:
        raise _BodyError(f"broken {coding}")
    return content
