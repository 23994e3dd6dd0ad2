"""Feedback: what users did, stored in files before the requests that bring it are answered.

Events that arrive within a short time go into one file, because a file for each request would be too many. A request is
answered once its events outlive a power cut; until then they are in memory, within a bound, and count as not sent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field, StringConstraints

from hnlm_ray.run.feedback import append_events, writable_folder
from hnlm_ray.serving.http.meters import Meters
from hnlm_ray.serving.http.refusals import RefusedError
from hnlm_ray.serving.http.types import Id, Wire
from hnlm_ray.tables import FEEDBACK

__all__ = ["MOST_WAITING", "Event", "EventLog", "FeedbackAnswer", "FeedbackRequest"]

MOST_WAITING = 50_000
"""Most events of a process that are not stored yet; a request for more is refused with 503."""

_ENOUGH = 10_000
"""Events that are stored at once, without waiting for further ones."""

_LARGEST_RATING = 1e6
_BEFORE_2100 = 4_102_444_799
_LATER = {"retry-after": "1"}

_log = logging.getLogger("hnlm_ray.serving")


class Event(Wire):
    """One interaction of a user with an item. Both may be unknown to the bundles: the next run learns them."""

    user_id: Id
    """The user's id as in the raw data."""
    item_id: Id
    """The item's id as in the raw data."""
    rating: float | None = Field(default=None, ge=-_LARGEST_RATING, le=_LARGEST_RATING)
    """As in the raw data, where it has ratings; ``null``: the interaction counts whatever ``data.min_rating`` says."""
    time: float | None = Field(default=None, ge=0, le=_BEFORE_2100)
    """Seconds since 1970; by default the time at which the service gets the event."""
    id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """A name of the event, such as a UUID: an event that is sent again under the same one counts once."""


class FeedbackRequest(Wire):
    """What users did."""

    events: list[Event] = Field(min_length=1, max_length=1000)


class FeedbackAnswer(Wire):
    """The events are stored."""

    stored: int
    """How many."""


class _Batch:
    """Events that go into one file.

    Attributes:
        rows: of the table ``feedback``.
        is_stored: whether they could be, once that is known.
        timer: ends the wait for further events.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.rows: list[dict[str, Any]] = []
        self.is_stored: asyncio.Future[bool] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None


class EventLog:
    """Stores the events that one process gets."""

    def __init__(self, address: str, wait_s: float, meters: Meters) -> None:
        """Open the folder.

        Args:
            address: of the folder, which other processes may write to as well.
            wait_s: seconds for which events wait for others.
            meters: metrics that are counted.

        Raises:
            StoreError: nothing can be written there.
        """
        self._folder, self._wait_s, self._meters = writable_folder(address), wait_s, meters
        self._batch: _Batch | None = None
        self._waiting = 0
        self._writes: set[asyncio.Task[None]] = set()

    async def add(self, events: list[Event]) -> None:
        """Store events, together with those of other requests.

        Raises:
            RefusedError: they are not stored, because storage fails or cannot keep up (503).
        """
        if self._waiting + len(events) > MOST_WAITING:
            self._meters.feedback.labels("refused").inc(len(events))
            raise RefusedError(503, "Too many events wait to be stored, send them again later.", _LATER)
        batch = self._batch or self._begin()
        now = time.time()
        batch.rows += [{**dict(event), "time": now if event.time is None else event.time, "received": now}
                       for event in events]  # fmt: skip
        self._waiting += len(events)
        if len(batch.rows) >= _ENOUGH:
            self._write(batch)
        if not await asyncio.shield(batch.is_stored):
            raise RefusedError(503, "The events could not be stored, send them again later.", _LATER)

    async def close(self) -> None:
        """Store what waits, and wait for it."""
        if self._batch is not None:
            self._write(self._batch)
        await asyncio.gather(*self._writes)

    def _begin(self) -> _Batch:
        loop = asyncio.get_running_loop()
        self._batch = batch = _Batch(loop)
        batch.timer = loop.call_later(self._wait_s, self._write, batch)
        return batch

    def _write(self, batch: _Batch) -> None:
        """Begin to write a batch; events that come from now on go into the next one."""
        assert batch.timer is not None
        batch.timer.cancel()
        self._batch = None
        task = asyncio.create_task(self._store(batch))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _store(self, batch: _Batch) -> None:
        started, is_stored = time.perf_counter(), False
        try:
            table = pa.Table.from_pylist(batch.rows, schema=FEEDBACK)
            await asyncio.to_thread(append_events, self._folder, table)
            self._meters.feedback_write.observe(time.perf_counter() - started)
            is_stored = True
        except Exception:  # of storage or a bug: whoever waits is told, and sends the events again
            _log.exception("%d events could not be stored", len(batch.rows))
        self._waiting -= len(batch.rows)
        self._meters.feedback.labels("stored" if is_stored else "failed").inc(len(batch.rows))
        batch.is_stored.set_result(is_stored)
