"""The splits, the items and the hard negatives of a run as files for other libraries."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hnlm_ray.errors import StoreError
from hnlm_ray.exchange import recbole, rectools
from hnlm_ray.exchange.run_data import RunData, read_run

__all__ = ["FORMS", "export"]

FORMS: dict[str, Callable[[RunData, Path, str], list[str]]] = {"recbole": recbole.write, "rectools": rectools.write}
"""What writes each form: the data, the folder and the name of the data set in; sentences for the user out."""


def export(run: str, folder: Path, form: str) -> list[str]:
    """Write the data of a run into a folder, which appears as a whole or not at all.

    Args:
        run: the folder or address of a run whose data is prepared.
        folder: must not exist, or be empty; its name becomes that of the data set.
        form: a key of :data:`FORMS`.

    Returns:
        Sentences for the user: what was written, and what to know about it.

    Raises:
        StoreError: the folder is no run, its data is not prepared, or ``folder`` holds something or cannot be written.
        DataError: the form cannot hold the data.
    """
    found = read_run(run)
    with _new_folder(folder) as staging:
        said = FORMS[form](found, staging, folder.absolute().name)
    counts = found.interactions["split"].value_counts().to_pylist()
    splits = ", ".join(f"{row['counts']:,} {row['values']}" for row in counts)
    return [f"wrote {folder}: {splits} interactions, {found.items.num_rows:,} items", *_about_negatives(found), *said]


def _about_negatives(found: RunData) -> Iterator[str]:
    if not found.negatives.num_rows:
        yield "the run has no hard negatives of a language model or a tuned encoder, so none were written"
    for row in found.negatives["source"].value_counts().to_pylist():
        yield f"{row['counts']:,} hard negatives, {row['values']}"


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside another to write into, which takes its place when the body ends, and is deleted if it fails."""
    staging = folder.absolute().parent / f".{folder.absolute().name}.{uuid.uuid4().hex[:8]}"
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StoreError(f"{folder} is a file or holds files", "give a folder that does not exist, or is empty")
        staging.mkdir(parents=True)
        yield staging
        os.replace(staging, folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror})", "give a folder that can be") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
