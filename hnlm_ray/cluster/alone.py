"""Run a fit in one Ray task, with checkpoints and restarts.

Ray Train brings up a controller, a group of workers and four helpers, which for one worker and small data takes longer
than the fit; a task starts in a process that Ray has at hand, often that of the fit before.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hnlm_ray.cluster.connect import require
from hnlm_ray.config.resources import WorkerOptions
from hnlm_ray.errors import HnlmError, StageError
from hnlm_ray.run.deaths import way_of_death
from hnlm_ray.run.places import Folder

__all__ = ["Checkpoints", "run_alone"]

Task = TypeVar("Task")
Result = TypeVar("Result")

_LATEST = "latest"
"""The file with the name of the newest checkpoint that is whole."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one fit, of which the newest is kept.

    Attributes:
        place: their folder, which need not exist yet.
    """

    place: Folder

    def save(self, number: int, write: Callable[[Path], None]) -> None:
        """Keep a new checkpoint instead of the last one; a kill leaves one of the two whole.

        Args:
            number: of the checkpoint, rising.
            write: writes its files into an empty folder of this machine.
        """
        name = f"{number:09d}"
        with tempfile.TemporaryDirectory() as local:
            write(Path(local))
            folder = self.place.folder(name)
            folder.put(Path(local))
            folder.sync(*folder.files())
        self.place.write_bytes(_LATEST, name.encode())
        for other in self.place.folders():
            if other != name:
                self.place.filesystem.delete_dir(self.place.folder(other).path)

    @contextlib.contextmanager
    def newest(self) -> Iterator[Path | None]:
        """The newest checkpoint as a folder of this machine during the body; None before the first."""
        if _LATEST not in self.place.files():
            yield None
            return
        with tempfile.TemporaryDirectory() as local:
            self.place.folder(self.place.read_bytes(_LATEST).decode()).fetch(Path(local))
            yield Path(local)


def run_alone(
    body: Callable[[Task, Checkpoints], Result],
    task: Task,
    options: WorkerOptions,
    section: str,
    checkpoints: Checkpoints,
) -> Result:
    """Run ``body(task, checkpoints)`` in a process of the cluster, and again after a lost one, ``max_failures`` times.

    Args:
        body: continues from :meth:`Checkpoints.newest`, and saves others.
        task: what it needs; travels to the process, so it should be small.
        options: what it runs on: one CPU, and one GPU where GPUs are used.
        section: the section of the configuration with these options; messages name it.
        checkpoints: of the fit.

    Raises:
        ResourceError: the cluster has no room for it.
        StageError: the process was lost more often than ``max_failures``, or the body raised an error of another kind.
        HnlmError: raised by the body.
    """
    import ray

    needs = options.needs
    require(needs, f"{section}.workers=1")
    resources: dict[str, Any] = {
        "num_cpus": needs["CPU"], "num_gpus": needs.get("GPU", 0.0), "max_retries": options.max_failures
    }  # fmt: skip
    running = ray.remote(**resources)(body).remote(task, checkpoints)
    try:
        result: Result = ray.get(running)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, HnlmError):
            raise error.cause from error
        lines = str(error.cause).strip().splitlines() or [""]
        raise StageError(
            f"training failed with {type(error.cause).__name__}: {lines[0]}",
            "a class of your own can be tried with `hnlm_ray.fit`, which shows where it failed",
        ) from error
    except ray.exceptions.RayError as error:
        death = way_of_death(error)
        if death is None:
            raise
        raise StageError(
            f"the process that trains was lost more than {options.max_failures} time(s): {death}",
            f"run again to continue from the last checkpoint, or raise {section}.max_failures",
        ) from error
    except BaseException:
        ray.cancel(running, force=True)
        raise
    return result
