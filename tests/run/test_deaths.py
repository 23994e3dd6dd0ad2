"""What is said of a process that died."""

from __future__ import annotations

import pytest

from hnlm_ray.run.deaths import did_not_start, way_of_death


def test_the_way_of_death_is_a_clause() -> None:
    from ray.exceptions import ActorDiedError, WorkerCrashedError

    long = (
        "The actor died unexpectedly before finishing this task.\n\tclass_name: Engine\n\tpid: 1\n"
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
        "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) ..."
    )
    error = ActorDiedError()
    error.error_msg = long
    assert way_of_death(error) == "Worker unexpectedly exits with a connection error code 2. End of file"
    assert (way_of_death(WorkerCrashedError()) or "").startswith("The worker died unexpectedly")
    assert not did_not_start(error)


def test_a_process_that_was_killed_for_memory_says_so() -> None:
    from ray.exceptions import OutOfMemoryError

    assert way_of_death(OutOfMemoryError("Task was killed\nLogs: a long list")) == "its machine ran low on memory"


@pytest.mark.parametrize("error", [ValueError("no"), OSError(28, "full"), KeyboardInterrupt()])
def test_another_error_is_no_death(error: BaseException) -> None:
    assert way_of_death(error) is None
    assert not did_not_start(error)


def test_an_actor_that_raised_while_it_was_made_did_not_start() -> None:
    from ray.exceptions import RayActorError

    assert did_not_start(RayActorError(actor_init_failed=True))
