"""``tracking.json``: under which id trackers know a run, where to look, and what they have of it already."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Mapping

from hnlm_ray.errors import HnlmError
from hnlm_ray.run.store import RunStore

__all__ = ["TrackingRecord"]

_FILE = "tracking.json"


class TrackingRecord:
    """What is known of the tracking of one run folder; several threads may use it.

    It is only a note: one that is missing or damaged is begun anew, and one that cannot be written is kept in memory.

    Args:
        store: the run folder.

    Attributes:
        id: of the run, by which trackers find it again.
    """

    def __init__(self, store: RunStore) -> None:
        self._store, self._lock = store, threading.Lock()
        self.id = uuid.uuid4().hex
        self._links: dict[str, str] = {}
        self._done: dict[str, list[str]] = {}
        with contextlib.suppress(HnlmError, OSError, ValueError, KeyError, TypeError, AttributeError):
            content = json.loads(store.read_text(_FILE) or "{}")
            done = {str(place): [*map(str, stages)] for place, stages in content["done"].items()}
            links = {str(title): str(link) for title, link in content["links"].items()}
            self.id, self._links, self._done = str(content["id"]), links, done

    @property
    def links(self) -> Mapping[str, str]:
        """Where to look, by the title of the tracker: a web address, or a command."""
        return dict(self._links)

    def is_done(self, place: str, stage: str) -> bool:
        """Whether a tracker has all of a stage.

        Args:
            place: of the tracker.
            stage: its name and fingerprint.
        """
        return stage in self._done.get(place, ())

    def note_done(self, place: str, stage: str) -> None:
        """Note that a tracker has all of a stage."""
        with self._lock:
            if not self.is_done(place, stage):
                self._done.setdefault(place, []).append(stage)
                self._write()

    def note_link(self, title: str, link: str) -> None:
        """Note where a tracker shows the run."""
        with self._lock:
            if self._links.get(title) != link:
                self._links[title] = link
                self._write()

    def _write(self) -> None:
        content = {"id": self.id, "links": self._links, "done": self._done}
        with contextlib.suppress(HnlmError, OSError):
            self._store.write_text(_FILE, json.dumps(content, indent=2))
