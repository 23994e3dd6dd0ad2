"""A pool of long-lived Ray actors that share a queue, which may grow while they work."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

from hnlm_ray.cluster.connect import remote_address, require
from hnlm_ray.config.tree import ClusterConfig
from hnlm_ray.errors import HnlmError

__all__ = ["Failure", "Workers", "run_pool"]

Task = TypeVar("Task")


@dataclass(frozen=True)
class Failure:
    """A task that failed.

    Attributes:
        reason: one sentence.
    """

    reason: str


@dataclass(frozen=True)
class Workers(Generic[Task]):
    """What the pool is made of.

    Attributes:
        kind: a class with a method ``run(task)``; made once per actor, so what is costly to read is read once.
        arguments: of its constructor.
        cpus: of one actor.
        gpus: of one actor.
        most: actors at a time; None for as many as there is room for.
        attempts: how often a task is tried that costs its actor its life, as one that runs out of memory does.
    """

    kind: type
    arguments: Sequence[Any]
    cpus: int = 1
    gpus: int = 0
    most: int | None = None
    attempts: int = 2

    def size(self, cluster: ClusterConfig) -> int:
        """Actors at a time: at least one.

        A local Ray has more logical CPUs than the machine has cores, and an actor keeps its CPUs busy.

        Raises:
            ResourceError: the cluster has no room for a single actor.
        """
        needs = {"CPU": float(self.cpus), **({"GPU": float(self.gpus)} if self.gpus else {})}
        require(needs, "a fit of the study")
        have = dict(ray.available_resources())
        if remote_address(cluster) is None:
            have["CPU"] = min(have.get("CPU", 0.0), os.cpu_count() or 1)
        room = min(int(have.get(name, 0.0) // amount) for name, amount in needs.items())
        return max(1, room if self.most is None else min(room, self.most))


def run_pool(
    workers: Workers[Task],
    size: int,
    tasks: Iterable[Task],
    on_end: Callable[[Task, Any], Iterable[Task]],
) -> None:
    """Run ``workers.kind.run(task)`` for every task, on ``size`` actors.

    Args:
        workers: what an actor is.
        size: actors at a time, from :meth:`Workers.size`.
        tasks: in the order in which they are begun.
        on_end: called in this process with a task and what it gave, a :class:`Failure` where it failed, as soon as it
            has ended; gives tasks to add to the queue.
    """
    options: dict[str, Any] = {"num_cpus": workers.cpus, "num_gpus": workers.gpus, "max_restarts": 0}
    make = ray.remote(**options)(workers.kind)
    waiting = deque((task, 1) for task in tasks)
    idle: list[Any] = []
    busy: dict[Any, tuple[Any, Task, int]] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < size:
                actor = idle.pop() if idle else make.remote(*workers.arguments)
                task, attempt = waiting.popleft()
                busy[actor.run.remote(task)] = actor, task, attempt
            (done, *_), _ = ray.wait(list(busy), num_returns=1)
            actor, task, attempt = busy.pop(done)
            try:
                result = ray.get(done)
                idle.append(actor)
            except RayTaskError as error:
                result = Failure(_sentence(error))
                idle.append(actor)
            except RayActorError as error:
                if attempt < workers.attempts:
                    waiting.appendleft((task, attempt + 1))
                    continue
                result = Failure(f"its process was lost {attempt} times ({str(error).splitlines()[0]})")
            waiting.extend((new, 1) for new in on_end(task, result))
    finally:
        for actor in (*idle, *(actor for actor, *_ in busy.values())):
            ray.kill(actor)


def _sentence(error: RayTaskError) -> str:
    """What was raised in the actor."""
    cause = error.cause
    return str(cause) if isinstance(cause, HnlmError) else f"{type(cause).__name__}: {cause}".splitlines()[0]
