"""Any OpenAI-compatible endpoint: Ollama, a vLLM server, a hosted model.

One asynchronous actor sends the requests with OpenAI's own client, which repeats what may succeed the next time. Ray
Data's HTTP stage is not used, because there a request that fails for good ends the whole job. The key comes from the
environment variable that the configuration names, and stands in no file, message or exception.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import openai
import pyarrow as pa
from pydantic import AliasPath, BaseModel, Field, SecretStr, ValidationError

from hnlm_ray.config.language import LLMConfig
from hnlm_ray.errors import EngineError
from hnlm_ray.language.engines.protocol import Call
from hnlm_ray.language.engines.rendering import RenderedRow, Reply, completions, render
from hnlm_ray.language.engines.tokens import approximate_budget
from hnlm_ray.language.prompts.answers import json_schema

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.data import Dataset

__all__ = ["HttpEngine", "api_key"]

_RETRIES = 3
"""Of one request, after statuses 408, 409, 429 and from 500, lost connections and timeouts."""
_BLOCKS_AT_ONCE = 4
"""So that the slowest answer of one block does not leave the endpoint idle."""
_NO_KEY = "none"
"""The client insists on a key; a server without keys ignores it."""


def api_key(config: LLMConfig) -> str:
    """The key from the environment variable that the configuration names; a placeholder where it names none.

    Raises:
        EngineError: the variable is not set, or its value cannot be sent as a header.
    """
    name = config.http.api_key_env
    if name is None:
        return _NO_KEY
    key = os.environ.get(name, "").strip()
    if not key:
        raise EngineError(f"the environment variable {name} (llm.http.api_key_env) is not set", "export it")
    if not (key.isascii() and key.isprintable()):
        raise EngineError(f"{name} (llm.http.api_key_env) holds a character that no key has", "export it again")
    return key


class HttpEngine:
    """Chat completions in the form of ``response_format``, the JSON schema of the task."""

    def __init__(self, config: LLMConfig) -> None:
        self.config = config

    @property
    def rows_per_block(self) -> int:
        """Rows made durable together."""
        return self.config.batch_size

    def needs(self) -> Mapping[str, float]:
        """One actor, which mostly waits."""
        return {"CPU": 1.0}

    def answer(self, requests: Dataset, call: Call) -> Dataset:
        """See :class:`hnlm_ray.language.engines.protocol.Engine`.

        Raises:
            EngineError: the environment variable of the key is not set.
        """
        import ray

        return requests.map_batches(
            _Sender,
            fn_constructor_args=(self.config, SecretStr(api_key(self.config)), ray.put(call)),
            compute=ray.data.ActorPoolStrategy(size=1, max_concurrent_calls_per_actor=_BLOCKS_AT_ONCE),
            batch_size=None,
            batch_format="pyarrow",
        )


class _Sender:
    """Sends the requests of a block and waits for all; lives in one actor."""

    def __init__(self, config: LLMConfig, key: SecretStr, call_ref: ObjectRef[Call]) -> None:
        import ray

        http, call = config.http, ray.get(call_ref)
        self.call: Call = call
        self.budget = approximate_budget(config.max_model_len, call.max_output_tokens)
        self.slots = asyncio.Semaphore(http.concurrency)
        self.limit_s = http.timeout_s
        client = openai.AsyncOpenAI(
            base_url=http.url,
            api_key=key.get_secret_value(),
            timeout=None,  # of each read; the client below limits the whole answer
            max_retries=_RETRIES,
            http_client=_TimedClient(http.timeout_s),
        )
        form = {"name": call.renderer.task, "schema": json_schema(call.renderer.task), "strict": True}
        self.complete: Callable[..., Any] = functools.partial(
            client.chat.completions.with_raw_response.create,
            model=config.model,
            max_tokens=call.max_output_tokens,
            temperature=call.temperature,
            top_p=call.top_p,
            response_format={"type": "json_schema", "json_schema": form},
        )

    async def __call__(self, requests: pa.Table) -> pa.Table:
        rows = render(requests, self.call, self.budget)
        return completions(requests["id"], await asyncio.gather(*map(self._reply_to, rows)))

    async def _reply_to(self, row: RenderedRow) -> Reply:
        """The answer, or why there is none; a row that fails takes no other with it."""
        if row.prompt is None:
            return Reply.failed(row.error)
        try:
            async with self.slots:
                response = await self.complete(messages=row.prompt.messages(), seed=row.seed)
            said = _Completion.model_validate_json(response.content)
        except openai.APITimeoutError:
            return Reply.failed(f"no answer in {self.limit_s:g} s")
        except openai.APIConnectionError as error:
            return Reply.failed(f"the connection failed ({type(error.__cause__).__name__})")
        except openai.APIStatusError as error:
            return Reply.failed(f"HTTP {error.status_code}")
        except ValidationError:
            return Reply.failed("HTTP 200 without a chat completion")
        tokens = said.prompt_tokens or 0, said.output_tokens or 0
        return Reply(said.text or "", said.finish_reason or "stop", "", *tokens)


class _TimedClient(openai.DefaultAsyncHttpxClient):
    """Limits the time of each whole answer: a limit per read never ends an endpoint that sends a byte now and then."""

    def __init__(self, limit_s: float) -> None:
        super().__init__()
        self.limit_s = limit_s

    async def send(self, *args: Any, **options: Any) -> Any:
        try:
            async with asyncio.timeout(self.limit_s):
                return await super().send(*args, **options)
        except TimeoutError as error:
            raise httpx.ReadTimeout("the whole answer took too long") from error  # which the client knows to repeat


_Count = Annotated[int, Field(ge=0, lt=2**31)]


class _Completion(BaseModel):
    """As much of a chat completion as is read; endpoints leave out or add much of the rest."""

    text: str | None = Field(validation_alias=AliasPath("choices", 0, "message", "content"))
    finish_reason: str | None = Field(None, validation_alias=AliasPath("choices", 0, "finish_reason"))
    prompt_tokens: _Count | None = Field(None, validation_alias=AliasPath("usage", "prompt_tokens"))
    output_tokens: _Count | None = Field(None, validation_alias=AliasPath("usage", "completion_tokens"))
