"""Actors that stay when a map ends: what is slow to start, such as an engine, serves the next map that needs it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hnlm_ray.run.deaths import way_of_death

__all__ = ["KeptActor", "kept_actors", "let_go", "lost"]

_CLOSING_S = 10.0


@dataclass(frozen=True)
class KeptActor:
    """An actor with the methods ``ready`` and ``close``, neither of which takes an argument.

    Attributes:
        handle: of the actor.
        placement: the placement group that was made for it; None where Ray placed it.
    """

    handle: Any
    placement: Any = None


_kept: tuple[str, list[KeptActor]] = ("", [])
"""What they are, and the actors: of one kind at a time, since a cluster may have room for no more."""


def kept_actors(key: str, number: int, make: Callable[[], KeptActor]) -> Sequence[Any]:
    """Handles of actors that are ready: those that an earlier call made, or new ones.

    Actors of another key are let go first, and so are all where one has died.

    Args:
        key: says all that they depend on.
        number: how many.
        make: starts one.

    Raises:
        RayActorError: one could not be made.
    """
    global _kept  # noqa: PLW0603
    import ray

    if _kept[0] != key or len(_kept[1]) != number or lost() is not None:
        let_go()
        _kept = key, [make() for _ in range(number)]
    try:
        ray.get([actor.handle.ready.remote() for actor in _kept[1]])
    except BaseException:
        let_go()
        raise
    return [actor.handle for actor in _kept[1]]


def lost() -> str | None:
    """How one of the actors died, in a clause; None where all of them live, or there are none."""
    import ray
    from ray.exceptions import RayActorError

    for actor in _kept[1]:
        try:
            ray.get(actor.handle.ready.remote())
        except RayActorError as error:
            return way_of_death(error)
    return None


def let_go() -> None:
    """End the actors: whoever comes next needs the room."""
    global _kept
    (_, actors), _kept = _kept, ("", [])
    if not actors:
        return
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util import remove_placement_group

    closing = [actor.handle.close.remote() for actor in actors]
    for one in closing:  # each may have processes of its own
        with contextlib.suppress(RayError, GetTimeoutError):
            ray.get(one, timeout=_CLOSING_S)
    for actor in actors:
        ray.kill(actor.handle)
        if actor.placement is not None:
            remove_placement_group(actor.placement)
