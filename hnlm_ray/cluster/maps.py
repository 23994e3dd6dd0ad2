"""Map a data set with Ray Data in processes that may die a bounded number of times.

Ray Data's own default starts a process that died again without end, so one row that kills its process would be tried
for ever, without a word.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["RETRIES", "actor_limits", "mapped", "old_names_allowed", "task_limits"]

RETRIES = 3
"""Of a block whose process died: enough for nodes that are lost, and soon over where the block is at fault."""


def mapped(dataset: Dataset, work: Callable[..., Any], *, retries: int = RETRIES, **options: Any) -> Dataset:
    """``dataset.map_batches(work, **options)`` on Arrow tables, lazily.

    Args:
        dataset: its blocks.
        work: a function, called in tasks, or a class, made once in each actor of ``compute``.
        retries: how often a block is tried again whose process died. 0 inside
            :func:`hnlm_ray.cluster.resumable.resumable_map`, which finds the row that is at fault.
        options: of ``Dataset.map_batches``.
    """
    limits = actor_limits(retries) if isinstance(work, type) else task_limits(retries)
    with old_names_allowed():
        return dataset.map_batches(work, batch_format="pyarrow", **limits, **options)


def task_limits(retries: int) -> dict[str, int]:
    """Arguments of Ray for tasks that are tried again so often."""
    return {"max_retries": retries}


def actor_limits(retries: int) -> dict[str, int]:
    """Arguments of Ray for actors, each of which is started again so often and its tasks with it."""
    return {"max_restarts": retries, "max_task_retries": retries}


@contextlib.contextmanager
def old_names_allowed() -> Iterator[None]:
    """Leave out the warning that these arguments go with Ray 2.64: 2.60 has no others for the same."""
    from ray.util.annotations import RayDeprecationWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)
        yield
