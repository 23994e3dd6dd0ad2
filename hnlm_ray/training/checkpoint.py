"""Checkpoints that any number of workers can read back.

::

    users-<first>-<last>.safetensors    rows of users first..last-1: embedding, Adam moments, best final vectors
    shared.safetensors                  all other parameters with their Adam moments, best item vectors;
                                        metadata: the progress as JSON

Each worker writes its users, and worker 0 also what is equal on all workers. A worker that restores reads the rows of
its own users from the files that hold them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow.fs as pafs
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hnlm_ray.errors import StoreError
from hnlm_ray.run.places import Folder
from hnlm_ray.training.collectives import rank
from hnlm_ray.training.progress import Progress, RunProgress

if TYPE_CHECKING:
    from hnlm_ray.training.loop import TrainingLoop

__all__ = ["MOMENTS", "STEP", "best_tensors", "latest_progress", "newest_progress", "restore", "save", "store_errors"]

AnyProgress = TypeVar("AnyProgress", bound=RunProgress[Any])

SHARED = "shared.safetensors"
_BEST, _SEEN = "best_vectors", "best_seen_users"
MOMENTS = ("exp_avg", "exp_avg_sq")
"""Adam's moments; beside a parameter ``name`` they are called ``name.exp_avg`` and ``name.exp_avg_sq``."""
STEP = "step"


def save(loop: TrainingLoop, folder: Path) -> None:
    """Write this worker's part of a checkpoint into an existing folder."""
    users, shared = _split(_state(loop))
    users[_BEST], shared[_BEST] = loop.best
    if loop.best_seen is not None:
        users[_SEEN] = loop.best_seen
    first, last = loop.shard.first_user, loop.shard.last_user
    _write(users, folder / f"users-{first:012d}-{last:012d}.safetensors", {})
    if rank() == 0:
        metadata = {"progress": loop.progress.to_json(), "n_users": str(loop.shard.n_users)}
        _write(shared, folder / SHARED, metadata)


def restore(loop: TrainingLoop, folder: Path) -> None:
    """Continue from a checkpoint of the same fit; the number of workers may differ.

    Raises:
        StoreError: a file is missing or damaged, or shapes differ from the model's.
    """
    shared, metadata = _read_shared(folder)
    users = _read_users(folder, loop.shard.first_user, loop.shard.last_user)
    loop.best = users.pop(_BEST).to(loop.best[0].device), shared.pop(_BEST).to(loop.best[1].device)
    if loop.best_seen is not None:
        if _SEEN not in users:
            raise StoreError(f"the checkpoint {folder} belongs to another model ({_SEEN})", "delete it")
        loop.best_seen = users.pop(_SEEN).to(loop.best_seen.device)
    saved = {**shared, **users}
    # The step is one number for all parameters, but Adam keeps it with each.
    step = saved.pop(STEP)
    for name, parameter in _trained(loop):
        if name not in saved or saved[name].shape != parameter.shape:
            raise StoreError(f"the checkpoint {folder} belongs to another model ({name})", "delete it")
        moments = {moment: saved[f"{name}.{moment}"].to(parameter.device) for moment in MOMENTS}
        loop.optimizer.state[parameter] = {STEP: step.clone().to(parameter.device), **moments}
        with torch.no_grad():
            parameter.copy_(saved[name])
    for name, buffer in loop.model.named_buffers():
        buffer.copy_(saved[name])
    loop.progress = Progress.from_json(metadata["progress"])


def best_tensors(folder: Path) -> tuple[dict[str, torch.Tensor], Progress]:
    """The best epoch of a checkpoint, and the progress.

    Returns:
        ``user_vectors`` (U, d), ``item_vectors`` (I, d) and, from backbones that read histories, ``seen_user_vectors``
        (U, d): those of users who are known by train and valid.

    Raises:
        StoreError: a file is missing or damaged.
    """
    shared, metadata = _read_shared(folder)
    progress = Progress.from_json(metadata["progress"])
    users = _read_users(folder, 0, int(metadata["n_users"]), names={_BEST, _SEEN})
    tensors = {"user_vectors": users[_BEST], "item_vectors": shared[_BEST]}
    return tensors | ({"seen_user_vectors": users[_SEEN]} if _SEEN in users else {}), progress


def latest_progress(folder: Folder) -> Progress | None:
    """The progress of the newest checkpoint below ``folder``, by reading headers alone; None before the first.

    Raises:
        OSError: a checkpoint vanished or cannot be read.
        ValueError: it is half-written.
    """
    return newest_progress(folder, SHARED, Progress)


def newest_progress(folder: Folder, name: str, kind: type[AnyProgress]) -> AnyProgress | None:
    """The progress in the newest safetensors file called ``name`` below ``folder``; None where there is none.

    Errors as in :func:`latest_progress`.
    """
    selector = pafs.FileSelector(folder.path, recursive=True, allow_not_found=True)
    found = [info.path for info in folder.filesystem.get_file_info(selector) if info.base_name == name]
    if not found:
        return None
    with folder.filesystem.open_input_file(max(found)) as file:
        # A safetensors file starts with the length of its JSON header, eight bytes, little-endian.
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return kind.from_json(header["__metadata__"]["progress"])


def _state(loop: TrainingLoop) -> dict[str, torch.Tensor]:
    """Parameters, Adam's state and buffers by name."""
    tensors: dict[str, torch.Tensor] = dict(loop.model.named_buffers())
    for name, parameter in _trained(loop):
        state = loop.optimizer.state[parameter]
        tensors |= {name: parameter.detach(), STEP: state[STEP]}
        tensors |= {f"{name}.{moment}": state[moment] for moment in MOMENTS}
    return tensors


def _trained(loop: TrainingLoop) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Trained parameters by name; frozen ones derive from the seed and are not saved."""
    return (named for named in loop.model.named_parameters() if named[1].requires_grad)


def _split(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Tensors with a row per user, and those that are equal on all workers."""
    of_users = {name for name in tensors if name.split(".")[-1] == "users_threshold" or name.split(".")[0] == "users"}
    shared = {name: tensors[name] for name in tensors if name not in of_users}
    return {name: tensors[name] for name in of_users}, shared


def _write(tensors: Mapping[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)


def _read_shared(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with store_errors(folder), safe_open(folder / SHARED, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def _read_users(folder: Path, first: int, last: int, names: set[str] | None = None) -> dict[str, torch.Tensor]:
    """Rows ``first`` to ``last - 1`` of every user tensor, or of those named."""
    pieces: dict[str, list[torch.Tensor]] = {}
    for path in sorted(folder.glob("users-*.safetensors")):
        start, stop = (int(part) for part in path.stem.split("-")[1:])
        low, high = max(first, start) - start, min(last, stop) - start
        if low >= high:
            # No row of this file, but a worker without users still needs the names and dimensions.
            low, high = 0, 0
        with store_errors(folder), safe_open(path, framework="pt") as file:
            for name in file.keys() if names is None else names.intersection(file.keys()):
                pieces.setdefault(name, []).append(file.get_slice(name)[low:high])
    users = {name: torch.cat(parts) for name, parts in pieces.items()}
    if not users or any(len(tensor) != last - first for tensor in users.values()):
        raise StoreError(f"the checkpoint {folder} lacks rows of users {first} to {last - 1}", "delete it")
    return users


@contextlib.contextmanager
def store_errors(folder: Path) -> Iterator[None]:
    """Turn what goes wrong when a checkpoint is read into a StoreError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise StoreError(f"the checkpoint {folder} cannot be read ({error})", "delete it") from error
