"""What in a run folder nothing refers to any more: results of earlier configurations, checkpoints of finished fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.fs as pafs

from hnlm_ray.run.places import Folder, storage_errors
from hnlm_ray.run.record import RunRecord
from hnlm_ray.run.store import RunStore

__all__ = ["Leftover", "leftovers"]

_OF_STUDIES = ("study", "study_fit", "search")
"""Results that ``run.json`` does not list, and that the same study or search would take up again."""


@dataclass(frozen=True)
class Leftover:
    """Something that can be deleted.

    Attributes:
        name: inside the run folder.
        reason: why nothing needs it, as a clause.
        bytes: what it takes.
        place: a folder, or a file where ``is_file``.
        is_file: which of them.
    """

    name: str
    reason: str
    bytes: int
    place: Folder
    is_file: bool = False

    def delete(self) -> None:
        """Delete it, and the folder of its stage where that is empty then."""
        filesystem, path = self.place.filesystem, self.place.path
        with storage_errors(path):
            if self.is_file:
                filesystem.delete_file(path)
                return
            filesystem.delete_dir(path)
            above = path.rpartition("/")[0]
            if not filesystem.get_file_info(pafs.FileSelector(above, allow_not_found=True)):
                filesystem.delete_dir(above)


def leftovers(store: RunStore, record: RunRecord, *, studies: bool = False) -> Iterator[Leftover]:
    """What may go; the caller holds the lock of the run, so that nothing of it is being written.

    Args:
        store: the run folder.
        record: of the run.
        studies: whether what studies and searches have computed may go, too.
    """
    listed = {(artifact.stage, artifact.fingerprint): artifact for artifact in record.artifacts.values()}
    for artifact in store.artifacts():
        name = f"{artifact.stage}/{artifact.fingerprint}"
        if (artifact.stage, artifact.fingerprint) in listed:
            if artifact.is_complete:
                yield from _scratch(artifact, name)
        elif studies or artifact.stage not in _OF_STUDIES:
            yield Leftover(name, "of another configuration", _bytes(artifact), artifact)


def _scratch(folder: Folder, name: str) -> Iterator[Leftover]:
    """Work files and checkpoints of a complete stage, which a run that was killed right after it may leave."""
    for inside, is_file in [*((one, False) for one in folder.folders()), *((one, True) for one in folder.files())]:
        if inside.startswith("_"):
            place = folder.folder(inside)
            yield Leftover(f"{name}/{inside}", "scratch of a complete stage", _bytes(place), place, is_file)


def _bytes(place: Folder) -> int:
    with storage_errors(place.path):
        found = place.filesystem.get_file_info(place.path)
        if found.type == pafs.FileType.File:
            return int(found.size)
        inside = place.filesystem.get_file_info(pafs.FileSelector(place.path, recursive=True, allow_not_found=True))
        return sum(info.size for info in inside if info.is_file)
