"""Any OpenAI-compatible endpoint: Ollama, a vLLM server, a hosted model.

One asynchronous actor sends the requests. Ray Data's HTTP stage is not used, because there a request that fails for
good ends the whole job. The key comes from the environment variable that the configuration names, and stands in no
file, message or exception.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import SecretStr

from hnlm_ray.cluster.maps import mapped
from hnlm_ray.config.language import LLMConfig
from hnlm_ray.errors import EngineError
from hnlm_ray.language.engines.endpoint import Endpoint
from hnlm_ray.language.engines.fields import Fields
from hnlm_ray.language.engines.protocol import Call
from hnlm_ray.language.engines.rendering import RenderedRow, Reply, completions, render
from hnlm_ray.language.engines.tokens import approximate_budget

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.data import Dataset

__all__ = ["HttpEngine", "api_key"]

_BLOCKS_AT_ONCE = 4
"""So that the slowest answer of one block does not leave the endpoint idle."""
_NO_KEY = "none"
"""Sent to a server without keys, which ignores it."""


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
        raise EngineError(
            f"{name} (llm.http.api_key_env) holds a line break or a letter that no key has", "export the key alone"
        )
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

        return mapped(
            requests,
            _Sender,
            retries=0,
            fn_constructor_args=(self.config, SecretStr(api_key(self.config)), ray.put(call)),
            compute=ray.data.ActorPoolStrategy(size=1, max_concurrent_calls_per_actor=_BLOCKS_AT_ONCE),
            batch_size=None,
        )


class _Sender:
    """Sends the requests of a block and waits for all; lives in one actor."""

    def __init__(self, config: LLMConfig, key: SecretStr, call_ref: ObjectRef[Call]) -> None:
        import ray

        self.call: Call = ray.get(call_ref)
        self.budget = approximate_budget(config.max_model_len, self.call.max_output_tokens)
        self.endpoint = Endpoint(config.http, key, Fields(config, self.call))

    async def __call__(self, requests: pa.Table) -> pa.Table:
        if self.endpoint.down is not None:
            return completions(requests["id"], [Reply.failed(self.endpoint.down)] * requests.num_rows)
        rows = render(requests, self.call, self.budget)
        return completions(requests["id"], await asyncio.gather(*map(self._reply_to, rows)))

    async def _reply_to(self, row: RenderedRow) -> Reply:
        """The answer, or why there is none; a row that fails takes no other with it."""
        return Reply.failed(row.error) if row.prompt is None else await self.endpoint.ask(row.prompt, row.seed)
