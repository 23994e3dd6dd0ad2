"""Check raw data before a run: small data is prepared as the run would, of large data the first rows are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.data import DataConfig, SplitConfig
from hnlm_ray.data.feedback import with_feedback
from hnlm_ray.data.files import Files, open_folder
from hnlm_ray.data.formats import interaction_files, item_files
from hnlm_ray.data.own import read_own
from hnlm_ray.data.preparation import prepare_tables
from hnlm_ray.data.raw import BLANK, RAW_INTERACTIONS, RAW_ITEMS, RawData, place_of
from hnlm_ray.data.reading import first_rows, read_whole
from hnlm_ray.data.splits import require_held_out
from hnlm_ray.errors import DataError, HnlmError
from hnlm_ray.run.feedback import event_files

__all__ = ["Findings", "check"]

_HEAD_BYTES = 1 << 18
_SMALL_BYTES = 8 << 20
"""Files of at most this size together are read whole: that takes a few seconds."""


@dataclass(frozen=True)
class Findings:
    """What a check found, one sentence each.

    Attributes:
        problems: stand in the way of a run.
        warnings: may spoil its result.
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check(config: DataConfig, seed: int = 0) -> Findings:
    """Look for everything that would stop the stage ``prepare``, or make it warn.

    Every file is looked at, so that all problems are told at once. Where none is found, small data is prepared as a
    whole. Of large data the first rows are, without filters, so that a later line may still be malformed.

    Args:
        config: the section ``data``.
        seed: of the run.
    """
    found = Findings()
    if config.format == "demo":
        return found
    if config.format == "own":
        return _own(config, seed)
    try:
        folder = open_folder(config.path or "")
    except DataError as error:
        return Findings([str(error)])
    if config.feedback is not None:
        try:
            event_files(config.feedback, config.feedback_until)
        except DataError as error:
            found.problems.append(str(error))
    sides: list[Files] = []
    heads: list[pa.Table] = []
    for kind, find in enumerate((interaction_files, item_files)):
        try:
            sides.append(find(folder, config))
        except DataError as error:
            found.problems.append(str(error))
            continue
        heads.append(_heads(config, sides[-1], kind, found))
    if not found.problems:
        _prepare(config, seed, (sides[0], sides[1]), (heads[0], heads[1]), found)
    return found


def _own(config: DataConfig, seed: int) -> Findings:
    """What a reader of one's own gives is always read whole."""
    try:
        raw, own = read_own(config)
        prepared = prepare_tables(raw, own, seed)
        require_held_out(prepared.interactions, own.split)
    except HnlmError as error:
        return Findings([str(error)])
    return Findings(warnings=[*prepared.warnings])


def _heads(config: DataConfig, files: Files, kind: int, found: Findings) -> pa.Table:
    """The first rows of every file of one kind, without what is no row; the problems of the files are collected."""
    schema = (RAW_INTERACTIONS, RAW_ITEMS)[kind]
    parts = [schema.empty_table()]
    for number, path in enumerate(files.paths):
        try:
            rows = first_rows(config, files, number, kind, _HEAD_BYTES)
            _require_rows(rows, files.paths, path, config.max_bad_rows)
            parts.append(rows.filter(pc.is_null(rows["problem"])))
        except DataError as error:
            found.problems.append(str(error))
    return pa.concat_tables(parts)


def _require_rows(rows: pa.Table, paths: Sequence[str], path: str, allowed: float) -> None:
    bad = rows.filter(pc.not_equal(rows["problem"], BLANK)).sort_by("position")
    if rows["problem"].null_count == 0 and bad.num_rows == 0:
        raise DataError(f"{path} has a header and no rows", "download or write it again")
    if bad.num_rows > allowed * rows.num_rows:
        place, problem = place_of(bad["position"][0].as_py(), paths), bad["problem"][0].as_py()
        what = f"{place}: {problem}; lines near the beginning are malformed"
        raise DataError(what, "check data.format, or fix the file")


def _prepare(
    config: DataConfig, seed: int, files: tuple[Files, Files], heads: tuple[pa.Table, pa.Table], found: Findings
) -> None:
    """Prepare the data, or what of it is cheap to read, and collect what that says."""
    is_small = sum(map(_bytes_of, files)) <= _SMALL_BYTES
    try:
        if is_small:
            prepared = prepare_tables(with_feedback(read_whole(config, files), config), config, seed)
            require_held_out(prepared.interactions, config.split)
        else:
            prepared = prepare_tables(*_sample(config, files, heads), seed)
    except DataError as error:
        found.problems.append(str(error) if is_small else f"In the first rows, {error}")
        return
    about = "" if is_small else f"of the first {len(heads[0]):,} rows: "
    found.warnings.extend(about + warning for warning in prepared.warnings)


def _sample(
    config: DataConfig, files: tuple[Files, Files], heads: tuple[pa.Table, pa.Table]
) -> tuple[RawData, DataConfig]:
    """The first interactions and all items, where these are few, with options that make sense for a part of the data.

    A part says nothing about filters and about shares of time.
    """
    items, few = heads[1], _bytes_of(files[1]) <= _SMALL_BYTES
    if few:
        items = read_whole(config, (Files(files[1].filesystem, ()), files[1])).items
    strategy = config.split.strategy
    changes = {
        "items": config.items if few else "",
        "split": SplitConfig() if strategy == "global_time" else config.split,
        "k_core": 0,
        "min_rating": None,
        "date_from": None,
        "date_to": None,
        "max_history": None,
    }
    return RawData(heads[0], items), config.model_copy(update=changes)


def _bytes_of(files: Files) -> int:
    """Size of some files together, as they are stored."""
    return sum(info.size or 0 for info in files.filesystem.get_file_info(list(files.paths)))
