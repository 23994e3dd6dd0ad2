"""Actors that stay: one start for all who ask for the same, and room for whoever comes next."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from hnlm_ray.cluster.connect import connected
from hnlm_ray.cluster.kept import KeptActor, kept_actors, let_go, lost
from hnlm_ray.config.tree import ClusterConfig

pytestmark = pytest.mark.ray


class Slow:
    """An engine without a model."""

    def __init__(self, fails: bool = False) -> None:
        if fails:
            raise ValueError("no such model")

    def ready(self) -> bool:
        return True

    def close(self) -> None: ...

    def process(self) -> int:
        return os.getpid()

    def die(self) -> None:
        os._exit(1)


@pytest.fixture(autouse=True)
def nothing_kept(ray_session: None) -> Iterator[None]:
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    let_go()
    yield
    let_go()


def maker(**options: bool) -> Callable[[], KeptActor]:
    import ray

    return lambda: KeptActor(ray.remote(num_cpus=1, max_restarts=0)(Slow).remote(**options))


def processes(actors: list) -> list[int]:
    import ray

    return ray.get([actor.process.remote() for actor in actors])


def test_who_asks_for_the_same_gets_the_same() -> None:
    first = processes(kept_actors("model", 2, maker()))
    assert processes(kept_actors("model", 2, maker())) == first
    assert len(set(first)) == 2


def test_another_kind_takes_the_room_of_the_last() -> None:
    from ray.exceptions import RayActorError

    (old,) = kept_actors("model", 1, maker())
    before = processes([old])
    assert processes(kept_actors("another model", 1, maker())) != before
    with pytest.raises(RayActorError):
        processes([old])


def test_a_dead_one_is_told_of_and_replaced() -> None:
    import ray
    from ray.exceptions import RayActorError

    actors = kept_actors("model", 2, maker())
    before = processes(actors)
    assert lost() is None
    with pytest.raises(RayActorError):
        ray.get(actors[0].die.remote())
    assert lost()
    after = processes(kept_actors("model", 2, maker()))
    assert not set(before) & set(after)
    assert lost() is None


def test_one_that_does_not_start_leaves_nothing_behind() -> None:
    from ray.exceptions import RayActorError

    with pytest.raises(RayActorError, match="no such model"):
        kept_actors("model", 2, maker(fails=True))
    assert lost() is None
    assert len(processes(kept_actors("model", 2, maker()))) == 2


def test_the_next_who_connects_finds_the_room_free() -> None:
    import ray

    kept_actors("model", 4, maker())
    free = ray.available_resources().get("CPU", 0.0)
    with connected(ClusterConfig()):
        deadline = time.monotonic() + 20
        while ray.available_resources().get("CPU", 0.0) < free + 4:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_placement_group_goes_with_its_actor() -> None:
    import ray
    from ray.util import placement_group, placement_group_table
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    def make() -> KeptActor:
        group = placement_group([{"CPU": 1}])
        where = PlacementGroupSchedulingStrategy(group)
        return KeptActor(ray.remote(num_cpus=1, scheduling_strategy=where)(Slow).remote(), group)

    kept_actors("model", 1, make)
    states = [entry["state"] for entry in placement_group_table().values()]
    assert states.count("CREATED") == 1
    let_go()
    assert not [entry for entry in placement_group_table().values() if entry["state"] == "CREATED"]
