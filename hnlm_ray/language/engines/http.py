"""Any OpenAI-compatible endpoint: Ollama, a vLLM server, a hosted model.

One asynchronous actor sends the requests, at most ``llm.http.concurrency`` at a time; Ray Data's own HTTP stage is not
used because a request that fails for good there ends the whole job. The key is read from the environment variable in
the actor or handed to it, and stands in no file, message or exception.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hnlm_ray.config.language import LLMConfig
from hnlm_ray.errors import EngineError
from hnlm_ray.language.engines.protocol import Call
from hnlm_ray.language.engines.rendering import completions, render
from hnlm_ray.language.engines.tokens import approximate_budget
from hnlm_ray.language.prompts.answers import json_schema
from hnlm_ray.language.prompts.render import Prompt

if TYPE_CHECKING:
    import httpx
    from ray import ObjectRef
    from ray.data import Dataset

__all__ = ["HttpEngine", "api_key"]

_ATTEMPTS = 4
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_BLOCKS_AT_ONCE = 4
"""So that the slowest answer of one block does not leave the endpoint idle."""


def api_key(config: LLMConfig) -> str | None:
    """The key from the environment variable that the configuration names, or None where it names none.

    Raises:
        EngineError: the variable is not set.
    """
    name = config.http.api_key_env
    if name is None:
        return None
    if not os.environ.get(name):
        raise EngineError(f"the environment variable {name} (llm.http.api_key_env) is not set", "export it")
    return os.environ[name]


class HttpEngine:
    """Chat completions with the schema of the task asked for as ``response_format``."""

    def __init__(self, config: LLMConfig) -> None:
        self.config = config

    @property
    def rows_per_block(self) -> int:
        """Rows made durable together."""
        return self.config.batch_size

    def needs(self) -> Mapping[str, float]:
        """One actor that waits."""
        return {"CPU": 1.0}

    def answer(self, requests: Dataset, call: Call) -> Dataset:
        """See :class:`hnlm_ray.language.engines.protocol.Engine`.

        Raises:
            EngineError: the environment variable of the key is not set.
        """
        import ray

        return requests.map_batches(
            _Sender,
            fn_constructor_args=(self.config, _Secret(api_key(self.config)), ray.put(call)),
            compute=ray.data.ActorPoolStrategy(size=1, max_concurrent_calls_per_actor=_BLOCKS_AT_ONCE),
            batch_size=None,
            batch_format="pyarrow",
        )


@dataclass(frozen=True)
class _Secret:
    """A string that no log or repr shows."""

    value: str | None

    def __repr__(self) -> str:
        return "_Secret(...)"


@dataclass(frozen=True)
class _Reply:
    text: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    error: str = ""


class _Sender:
    """Sends the requests of a block and waits for all; lives in one actor."""

    def __init__(self, config: LLMConfig, key: _Secret, call_ref: ObjectRef[Call]) -> None:
        import httpx
        import ray

        self.config = config
        self.call: Call = ray.get(call_ref)
        self.budget = approximate_budget(config.max_model_len, self.call.max_output_tokens)
        self.slots = asyncio.Semaphore(config.http.concurrency)
        headers = {"Authorization": f"Bearer {key.value}"} if key.value else {}
        limits = httpx.Limits(max_connections=config.http.concurrency)
        self.client = httpx.AsyncClient(headers=headers, timeout=config.http.timeout_s, limits=limits)

    async def __call__(self, requests: pa.Table) -> pa.Table:
        rows = render(requests, self.call, self.budget)
        seeds = self.call.row_seeds(requests["id"].to_numpy()).tolist()
        replies = await asyncio.gather(
            *(self._reply(prompt, error, seed) for (_, prompt, error), seed in zip(rows, seeds, strict=True))
        )
        columns: dict[str, Any] = {
            name: [getattr(reply, name) for reply in replies] for name in _Reply.__dataclass_fields__
        }
        return completions({"id": requests["id"], **columns})

    async def _reply(self, prompt: Prompt | None, error: str, seed: int) -> _Reply:
        if prompt is None:
            return _Reply(error=error)
        problem = ""
        async with self.slots:
            for attempt in range(_ATTEMPTS):
                if attempt:
                    await asyncio.sleep(min(_FIRST_WAIT_S * 2 ** (attempt - 1), _LONGEST_WAIT_S))
                reply, again = await self._send(self._body(prompt, seed))
                if not again:
                    return reply
                problem = reply.error
        return _Reply(error=f"{problem}, {_ATTEMPTS} times")

    async def _send(self, body: dict[str, Any]) -> tuple[_Reply, bool]:
        """One request: the reply, and whether to try again."""
        import httpx

        try:
            response = await self.client.post(f"{self.config.http.url.rstrip('/')}/chat/completions", json=body)
        except httpx.TimeoutException:
            return _Reply(error=f"no answer in {self.config.http.timeout_s:g} s"), True
        except httpx.TransportError as error:
            return _Reply(error=f"cannot reach the endpoint ({type(error).__name__})"), True
        if response.status_code != httpx.codes.OK:
            return _Reply(error=f"HTTP {response.status_code}"), response.status_code in _TRY_AGAIN
        return _read(response), False

    def _body(self, prompt: Prompt, seed: int) -> dict[str, Any]:
        call = self.call
        return {
            "model": self.config.model,
            "messages": prompt.messages(),
            "max_tokens": call.max_output_tokens,
            "temperature": call.temperature,
            "top_p": call.top_p,
            "seed": seed,
            "response_format": _response_format(call.renderer.task),
        }


@functools.cache
def _response_format(task: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": task, "schema": json_schema(task), "strict": True}}


def _read(response: httpx.Response) -> _Reply:
    """What a 200 says; an endpoint that answers in another form gives a failed row, not a dead job."""
    try:
        content = response.json()
        choice, usage = content["choices"][0], content.get("usage") or {}
        return _Reply(
            text=choice["message"]["content"] or "",
            finish_reason=choice.get("finish_reason") or "stop",
            prompt_tokens=int(usage.get("prompt_tokens", 0)),
            output_tokens=int(usage.get("completion_tokens", 0)),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return _Reply(error="HTTP 200 without a chat completion")
