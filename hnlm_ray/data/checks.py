"""Check raw data before a run: every problem that the first lines of its files show, all at once."""

from __future__ import annotations

import pyarrow.compute as pc

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data.files import Files, open_folder
from hnlm_ray.data.formats import chunks_of, interaction_files, item_files, parsers
from hnlm_ray.data.raw import BLANK, place_of
from hnlm_ray.data.table import INTERACTION_ROLES, ITEM_ROLES, columns_of, names_in
from hnlm_ray.errors import DataError

__all__ = ["check"]

_HEAD_BYTES = 1 << 16


def check(config: DataConfig) -> list[str]:
    """One sentence per problem; empty where the files look as their format says.

    Only the beginning of each file is read, so that a later line may still be malformed.
    """
    if config.format == "demo":
        return []
    try:
        folder = open_folder(config.path or "")
    except DataError as error:
        return [str(error)]
    found = []
    if config.split.strategy == "column" and config.format != "table":
        found.append(f"data.split.strategy is column, and the format {config.format} has no split; choose another.")
    for number, find in enumerate((interaction_files, item_files)):
        try:
            files = find(folder, config)
        except DataError as error:
            found.append(str(error))
            continue
        for file in range(len(files.paths)):
            try:
                _check_file(files, file, config, number)
            except DataError as error:
                found.append(str(error))
    return found


def _check_file(files: Files, number: int, config: DataConfig, kind: int) -> None:
    """Read the first lines of a file.

    Args:
        files: that it is one of.
        number: of the file.
        config: the section ``data``.
        kind: 0 for interactions, 1 for items.

    Raises:
        DataError: the file is empty or not of its format, lacks a column, or begins with a malformed line.
    """
    path = files.paths[number]
    if config.format == "table":
        needs_split = kind == 0 and config.split.strategy == "column"
        roles = (*(INTERACTION_ROLES, ITEM_ROLES)[kind], *(("split",) if needs_split else ()))
        chosen = columns_of(config.columns, roles, names_in(files.filesystem, path), path)
        if needs_split and "split" not in chosen:
            raise DataError(f"{path} has no split column, and data.split.strategy is column", "set data.columns.split")
        return
    chunk = next(chunks_of(config, files, number, size=_HEAD_BYTES))
    if not chunk.content.strip():
        raise DataError(f"{path} has a header and no rows", "download or write it again")
    rows = parsers(config)[kind](chunk)
    bad = rows.filter(pc.not_equal(rows["problem"], BLANK)).sort_by("position")
    if bad.num_rows > config.max_bad_rows * rows.num_rows:
        place, problem = place_of(bad["position"][0].as_py(), files.paths), bad["problem"][0].as_py()
        raise DataError(
            f"{place}: {problem}; lines near the beginning are malformed", "check data.format, or fix the file"
        )
