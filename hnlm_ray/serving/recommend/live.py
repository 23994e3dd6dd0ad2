"""The bundles that a service serves, by name; each is replaced as a whole when its shelf points to another version.

A watcher thread checks the shelves. The next bundle is loaded beside the old one, its checksums are verified and a few
requests are tried on it; then one reference is swapped. A request gets its recommender once and keeps it, so no answer
mixes two versions and none has to wait. A bundle that cannot be loaded is logged once, and the old one stays.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from hnlm_ray.config.serving import BundleSource
from hnlm_ray.errors import BundleError, ConfigError, HnlmError
from hnlm_ray.run.places import shown
from hnlm_ray.serving.bundle.shelf import Offer, Shelf, current_offer
from hnlm_ray.serving.recommend.explanation import Explainer
from hnlm_ray.serving.recommend.index import build_index
from hnlm_ray.serving.recommend.options import RankingOptions
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.tables import NEW_ITEMS

__all__ = ["Live", "Served", "UnknownBundleError"]

_log = logging.getLogger("hnlm_ray.serving")

_CANARIES = 32
_CANARY_K = 20
_LONGEST_WAIT = 64
"""Most checks of the shelves between two attempts to load something that failed."""


class UnknownBundleError(LookupError):
    """A request names a bundle that is not being served."""


@dataclass(frozen=True)
class Served:
    """One version of a bundle that is being served; a request gets it once and keeps it.

    Attributes:
        name: the name under which the bundle is served.
        recommender: recommends from it.
        explainer: explains its recommendations.
    """

    name: str
    recommender: Recommender
    explainer: Explainer

    @property
    def version(self) -> str:
        """The version of the bundle: twelve hex digits."""
        return self.recommender.info.version


class _Failures:
    """Things that could not be loaded: each reason is logged once, and each is tried again after 2, 4, 8... checks.

    They are tried again because a store may have been unreachable for a while, or a bundle repaired.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._waits: dict[str, tuple[int, int]] = {}

    def must_wait(self, what: str) -> bool:
        """Whether it is too early to try again; called once per check."""
        wait, left = self._waits.get(what, (1, 1))
        self._waits[what] = (wait, left - 1)
        return left > 1

    def add(self, what: str, reason: str) -> bool:
        """Record a failure, and return whether its reason is new."""
        wait = min(2 * self._waits.get(what, (1, 0))[0], _LONGEST_WAIT)
        self._waits[what] = (wait, wait)
        is_new = self._reasons.get(what) != reason
        self._reasons[what] = reason
        return is_new

    def clear(self) -> None:
        """Forget everything."""
        self._reasons.clear()
        self._waits.clear()


@dataclass
class _Slot:
    source: BundleSource
    served: Served
    shelf: Shelf | None
    availability: object = None
    """Mark of the table of availability that was read last."""
    unavailable: list[str] = field(default_factory=list)
    """Ids of the items that it marks as unavailable."""
    additions: object = None
    """Mark of the table of new items that was read last."""
    new_items: pa.Table = field(default_factory=NEW_ITEMS.empty_table)
    failed_bundles: _Failures = field(default_factory=_Failures)
    failed_availability: _Failures = field(default_factory=_Failures)
    failed_additions: _Failures = field(default_factory=_Failures)


class Live:
    """The bundles of one process; safe to use from several threads."""

    def __init__(self, sources: Mapping[str, BundleSource], index_from: int | None = None) -> None:
        """Load and try every bundle.

        Args:
            sources: by name; the first is the main one.
            index_from: number of items from which on a catalogue gets an approximate index; None for never.

        Raises:
            BundleError: a bundle is missing or damaged, or fails a trial request.
            ConfigError: all bundles are shadows.
            PackageError: the library of the index is not installed.
        """
        if all(source.shadow for source in sources.values()):
            raise ConfigError("every bundle is a shadow, so that nobody would answer", "give one that is none")
        self._index_from = index_from
        self._slots = {name: self._open(name, source) for name, source in sources.items()}
        self._split = _Split({name: one.share for name, one in sources.items() if not one.shadow})
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None
        self.on_reload: Callable[[str, str, bool], None] = lambda name, version, is_loaded: None
        """Called with the name, the version, and whether it was loaded, after each attempt to replace a bundle."""

    @classmethod
    def of(cls, paths: Mapping[str, str]) -> Live:
        """Serve bundles or shelves by name; the first answers everybody who names no bundle."""
        return cls({name: BundleSource(path=path) for name, path in paths.items()})

    def __iter__(self) -> Iterator[Served]:
        return iter([slot.served for slot in self._slots.values()])

    def is_shadow(self, name: str) -> bool:
        """Whether the bundle only answers for comparison."""
        return self._slots[name].source.shadow

    def share_of_users(self, name: str) -> float:
        """The part of the users whom the bundle answers where a request names no bundle, 0 to 1."""
        return self._split.share(name)

    def by_name(self, name: str) -> Served:
        """The bundle of a name.

        Raises:
            UnknownBundleError: there is none.
        """
        slot = self._slots.get(name)
        if slot is None:
            raise UnknownBundleError(f"there is no bundle of that name, there are {', '.join(self._slots)}")
        return slot.served

    def for_user(self, user_id: str) -> Served:
        """The bundle that answers a user: always the same one while the shares stay the same."""
        return self._slots[self._split.of(user_id)].served

    def for_users(self, user_ids: Sequence[str]) -> list[Served]:
        """:meth:`for_user` for many users, all of whom get the same version of a bundle."""
        served = {one.name: one for one in self}
        return [served[self._split.of(user_id)] for user_id in user_ids]

    def shadows(self, name: str) -> list[Served]:
        """The shadows that are compared with a bundle."""
        return [slot.served for other, slot in self._slots.items() if slot.source.shadow and other != name]

    def refresh(self) -> None:
        """Load the bundles that the shelves point to now, the availability of their items, and new items."""
        for name, slot in self._slots.items():
            if slot.shelf is not None:
                self._refresh_availability(name, slot, slot.shelf)
                self._refresh_bundle(name, slot, slot.shelf)
                self._refresh_new_items(name, slot, slot.shelf)

    def watch(self, every_s: float) -> None:
        """Refresh every ``every_s`` seconds from now on, in a thread."""
        self._stop.clear()
        self._watcher = threading.Thread(target=self._watch, args=(every_s,), name="bundle-watcher", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join(timeout=10.0)

    def _watch(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            try:
                self.refresh()
            except Exception:  # a bug here must not end the watching
                _log.exception("looking for new bundles failed")

    def _open(self, name: str, source: BundleSource) -> _Slot:
        shelf = Shelf(source.path)
        if not shelf.has_pointer:
            return _Slot(source, self._load(name, current_offer(source.path)), None)
        (mark, gone), (added, new_items) = shelf.unavailable(), shelf.new_items()
        served = self._load(name, Offer(shelf.path_of(shelf.current()), gone, new_items))
        return _Slot(source, served, shelf, mark, gone, added, new_items)

    def _load(self, name: str, offer: Offer) -> Served:
        try:
            recommender = Recommender.of(offer)
            if self._index_from is not None and len(recommender.catalogue) >= self._index_from:
                recommender.use_index(build_index(recommender.bundle.contents.item_vectors))
            _try(recommender)
            return Served(name, recommender, Explainer(recommender))
        except HnlmError:
            raise
        except Exception as error:  # nothing that a bundle contains may end the watching
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise BundleError(
                f"bundle {shown(offer.address)} cannot be used ({reason})", "build the bundle again"
            ) from error

    def _refresh_bundle(self, name: str, slot: _Slot, shelf: Shelf) -> None:
        version = "unknown"
        try:
            version = shelf.current()
            if version == slot.served.version:
                slot.failed_bundles.clear()
                return
            if slot.failed_bundles.must_wait(version):
                return
            served = self._load(name, Offer(shelf.path_of(version), slot.unavailable, slot.new_items))
            if served.version != version:
                raise BundleError(f"{shown(shelf.path_of(version))} holds the bundle {served.version}", "copy it again")
        except HnlmError as error:
            self._report(name, slot, slot.failed_bundles, version, error)
            return
        slot.served = served
        slot.failed_bundles.clear()
        _log.info("bundle %s is now %s", name, version)
        self.on_reload(name, version, True)

    def _refresh_availability(self, name: str, slot: _Slot, shelf: Shelf) -> None:
        what = "availability"
        try:
            mark = shelf.availability_mark()
            what = f"availability {mark}"
            if mark == slot.availability or slot.failed_availability.must_wait(what):
                return
            mark, gone = shelf.unavailable()
        except HnlmError as error:
            self._report(name, slot, slot.failed_availability, what, error)
            return
        count = slot.served.recommender.catalogue.set_unavailable(gone)
        slot.availability, slot.unavailable = mark, gone
        slot.failed_availability.clear()
        _log.info("bundle %s: %d items are not available", name, count)

    def _refresh_new_items(self, name: str, slot: _Slot, shelf: Shelf) -> None:
        what = "new items"
        try:
            mark = shelf.new_items_mark()
            what = f"new items {mark}"
            if mark == slot.additions or slot.failed_additions.must_wait(what):
                return
            mark, items = shelf.new_items()
            served = self._load(name, Offer(shelf.path_of(slot.served.version), slot.unavailable, items))
        except HnlmError as error:
            self._report(name, slot, slot.failed_additions, what, error)
            return
        slot.served, slot.additions, slot.new_items = served, mark, items
        slot.failed_additions.clear()
        _log.info("bundle %s: %d items are new", name, len(items))

    def _report(self, name: str, slot: _Slot, failures: _Failures, what: str, error: Exception) -> None:
        if failures.add(what, str(error)):
            _log.error("bundle %s stays at %s: %s", name, slot.served.version, error)
            self.on_reload(name, what, False)


class _Split:
    """Assigns users to names in proportion to shares, by a hash of the id that is the same in every process."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        # Names without a share are dropped, so that rounding cannot choose one. Without any share the first gets all.
        with_share = {name: share for name, share in shares.items() if share} or dict.fromkeys([*shares][:1], 1.0)
        total = sum(with_share.values())
        self._shares = {name: share / total for name, share in with_share.items()}
        self._names, self._bounds = list(self._shares), np.cumsum(list(self._shares.values()))
        self._only = self._names[0] if len(self._names) == 1 else None

    def share(self, name: str) -> float:
        return self._shares.get(name, 0.0)

    def of(self, user_id: str) -> str:
        if self._only is not None:
            return self._only
        digest = hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), digest_size=8, person=b"hnlm-split").digest()
        point = int.from_bytes(digest, "little") / 2**64
        return self._names[min(int(np.searchsorted(self._bounds, point, side="right")), len(self._names) - 1)]


def _try(recommender: Recommender) -> None:
    """Try requests for a few users, one by one and together.

    Raises:
        BundleError: an answer does not make sense.
    """
    users = recommender.users.ids
    sample = [users[place] for place in np.linspace(0, len(users) - 1, min(_CANARIES, len(users))).astype(int)]
    options = RankingOptions(k=_CANARY_K)
    together = recommender.rank([*sample, ""], options)
    for user_id, ranking in zip(sample, together, strict=False):
        alone = recommender.rank([user_id], options)[0]
        is_sound = np.isfinite(alone.scores).all() and (np.diff(alone.scores) <= 0).all()
        if not is_sound or len(alone.items) != len(ranking.items):
            raise BundleError(f"bundle {recommender.info.version} gives an unsound answer", "build the bundle again")
        if np.isin(alone.items, recommender.history(user_id)).any():
            raise BundleError(f"bundle {recommender.info.version} recommends what was seen", "build the bundle again")
    if sample:
        history = recommender.history(sample[0])[:_CANARY_K]
        recommender.fold_in([recommender.catalogue.ids[item] for item in history.tolist()], options)
    recommender.similar(recommender.catalogue.ids[0], options)
    if recommender.reads_text:
        recommender.from_text("warm-up", options)
