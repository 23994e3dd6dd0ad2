"""Engines without a model, for tests: the path of the others, with replies computed from the prompt or text."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hnlm_ray.cluster.maps import mapped
from hnlm_ray.language.engines.protocol import EMBEDDINGS, Call
from hnlm_ray.language.engines.rendering import RenderedRow, Reply, completions, render
from hnlm_ray.language.engines.tokens import approximate_budget
from hnlm_ray.language.prompts.render import Prompt
from hnlm_ray.language.prompts.wording import Task

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.data import Dataset

__all__ = ["ScriptedEmbedder", "ScriptedEngine", "plain_reply"]

_DIMENSION = 64


def plain_reply(task: Task, prompt: Prompt, seed: int) -> Reply:
    """A valid answer that repeats the prompt.

    The profile names the categories shown; the hard negative is the title of the bought item without its first word.
    """
    shown = [json.loads(line) for line in prompt.user.splitlines()]
    if task == "negative":
        title = str(shown[-1].get("bought", ""))
        return _answer(hard_negative=title.partition(" ")[2] or "None")
    seen = dict.fromkeys(str(part.get("categories") or part.get("title") or "unknown") for part in shown)
    return _answer(summary=f"For those who like {', '.join(seen)[:600]}.")


def _answer(**fields: str) -> Reply:
    return Reply(json.dumps({"reasoning": "scripted", **fields}, ensure_ascii=False, separators=(",", ":")))


@dataclass(frozen=True)
class ScriptedEngine:
    """Replies by a plain function, under Ray Data like every other engine.

    Attributes:
        reply: the reply to a task, a prompt and a sampling seed; its counts of tokens are replaced by counts of words.
        max_model_len: approximate tokens of a prompt and its answer.
        rows_per_block: rows made durable together.
    """

    reply: Callable[[Task, Prompt, int], Reply] = plain_reply
    max_model_len: int = 2048
    rows_per_block: int = 64

    def needs(self) -> Mapping[str, float]:
        """Nothing beyond the task of the map."""
        return {}

    def answer(self, requests: Dataset, call: Call) -> Dataset:
        """See :class:`hnlm_ray.language.engines.protocol.Engine`."""
        import ray

        return mapped(
            requests,
            functools.partial(_reply_to, ray.put(call), self.reply, self.max_model_len),
            retries=0,
            batch_size=None,
        )


def _reply_to(
    call_ref: ObjectRef[Call], reply: Callable[[Task, Prompt, int], Reply], limit: int, requests: pa.Table
) -> pa.Table:
    import ray

    call = ray.get(call_ref)

    def reply_to(row: RenderedRow) -> Reply:
        if row.prompt is None:
            return Reply.failed(row.error)
        said = reply(call.renderer.task, row.prompt, row.seed)
        return replace(said, prompt_tokens=len(row.prompt.user.split()), output_tokens=len(said.text.split()))

    rows = render(requests, call, approximate_budget(limit, call.max_output_tokens))
    return completions(requests["id"], [reply_to(row) for row in rows])


@dataclass(frozen=True)
class ScriptedEmbedder:
    """Vectors of 64 dimensions from hashed words: texts that share words are near each other."""

    rows_per_block: int = 64

    def needs(self) -> Mapping[str, float]:
        """Nothing beyond the task of the map."""
        return {}

    def embed(self, texts: Dataset) -> Dataset:
        """See :class:`hnlm_ray.language.engines.protocol.Embedder`."""
        return mapped(texts, _hashed_words, retries=0, batch_size=None)


def _hashed_words(texts: pa.Table) -> pa.Table:
    vectors = np.zeros((texts.num_rows, _DIMENSION), np.float32)
    for row, text in enumerate(texts["text"].to_pylist()):
        for word in re.findall(r"\w+", text.casefold()) or [""]:
            digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
            vectors[row, digest[0] % _DIMENSION] += 1.0 if digest[1] % 2 else -1.0
            vectors[row, digest[2] % _DIMENSION] += 1.0 if digest[3] % 2 else -1.0
    columns = {"id": texts["id"], "vector": list(vectors), "error": [""] * texts.num_rows}
    return pa.table(columns).cast(EMBEDDINGS)
