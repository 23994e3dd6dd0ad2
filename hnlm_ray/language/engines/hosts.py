"""Engines of vLLM in actors that outlive a map, and the stage of Ray Data that sends them its rows."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ray.exceptions import RayActorError
from ray.llm._internal.batch.stages.base import StatefulStageUDF

__all__ = ["EngineHost", "Forwarder"]

_SENT = ("tokenized_prompt", "sampling_params", StatefulStageUDF.IDX_IN_BATCH_COLUMN)
"""The columns that an engine takes."""
Rows = list[dict[str, Any]]


class EngineHost:
    """An actor with Ray Data's stage of an engine inside, which it would otherwise start anew for every map."""

    def __init__(self, stage: type[StatefulStageUDF], options: dict[str, Any]) -> None:
        self._stage: Any = stage(**options)

    def ready(self) -> bool:
        """Answers once the engine has started."""
        return True

    async def answer(self, rows: Rows) -> Rows:
        """The outputs of the engine for rows with the columns that it takes, in the order in which they end."""
        return [output async for output in self._stage.udf(rows)]

    def close(self) -> None:
        """End the processes of the engine."""
        self._stage.llm.shutdown()


class Forwarder(StatefulStageUDF):  # type: ignore[misc]
    """The stage of a map: it sends each batch to one of the engines, the one with the fewest batches from here."""

    def __init__(self, data_column: str, expected_input_keys: list[str], *, hosts: Sequence[Any], **_: object) -> None:
        super().__init__(data_column, expected_input_keys)
        self._hosts = list(hosts)
        self._under_way = [0] * len(self._hosts)

    async def udf(self, batch: Rows) -> AsyncIterator[dict[str, Any]]:
        """See :class:`ray.llm._internal.batch.stages.base.StatefulStageUDF`."""
        least = min(self._under_way)
        chosen = random.choice([place for place, count in enumerate(self._under_way) if count == least])  # noqa: S311
        # What only the engine needs is not carried further.
        sent = [
            {name: row.pop(name) if name != _SENT[-1] else row[name] for name in _SENT if name in row} for row in batch
        ]
        self._under_way[chosen] += 1
        try:
            outputs = await self._hosts[chosen].answer.remote(sent)
        except RayActorError:
            # Ray Data would make an error of a user's code of it, without its cause. A process that ends is what it is.
            os._exit(1)
        finally:
            self._under_way[chosen] -= 1
        for output in outputs:
            yield output
