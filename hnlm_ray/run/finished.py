"""Finished run folders: found by their ``run.json``, checked, and read table by table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from hnlm_ray.errors import ConfigError, DataError, StoreError
from hnlm_ray.run.record import RunRecord
from hnlm_ray.run.stage import StageKey
from hnlm_ray.run.store import Artifact, RunStore
from hnlm_ray.tables import SPLITS

__all__ = ["FinishedRun", "open_runs", "sizes"]

_SPLITS = ["user", "item", "split"]
_SAME = "compare runs on the same data, split alike"


@dataclass(frozen=True)
class FinishedRun:
    """A run that has been evaluated.

    Attributes:
        path: as it was given.
        label: short name, unlike that of any other run of the comparison.
        variants: options of each variant, as ``run.json`` has them.
        artifacts: complete artifacts: ``prepare``, every fit, ``evaluate``.
    """

    path: str
    label: str
    variants: Mapping[str, Mapping[str, Any]]
    artifacts: Mapping[StageKey, Artifact]

    @property
    def prepare(self) -> Artifact:
        """Users, items and interactions."""
        return self.artifacts[StageKey("prepare")]

    @property
    def evaluate(self) -> Artifact:
        """Figures on the held-out interactions."""
        return self.artifacts[StageKey("evaluate")]

    def fits(self, variant: str) -> list[Artifact]:
        """The fits of a variant, one per seed."""
        return [artifact for key, artifact in self.artifacts.items() if (key.kind, key.variant) == ("train", variant)]


def open_runs(paths: Sequence[str]) -> list[FinishedRun]:
    """Open run folders that can be compared.

    Args:
        paths: folders or addresses, in the order of the comparison.

    Raises:
        ConfigError: a folder is given twice.
        StoreError: a folder is no run, or a run has not been evaluated.
        DataError: runs are on different data.
    """
    stores = [RunStore(path) for path in paths]
    for place, store in enumerate(stores):
        if store.root in {other.root for other in stores[:place]}:
            raise ConfigError(f"{paths[place]} is given twice", "name each run once")
    runs = [_open(path, label, store) for path, label, store in zip(paths, _labels(paths), stores, strict=True)]
    for run in runs[1:]:
        _check_same_data(runs[0], run)
    return runs


def _labels(paths: Sequence[str]) -> list[str]:
    """Names of the folders, with as many parents as tell them apart."""
    parts = [PurePosixPath(path.split("://")[-1].rstrip("/")).parts for path in paths]
    depth = 1
    while len({part[-depth:] for part in parts}) < len(parts) and depth < max(map(len, parts)):
        depth += 1
    return ["/".join(part[-depth:]) for part in parts]


def _open(path: str, label: str, store: RunStore) -> FinishedRun:
    record = RunRecord.read(store, path)
    needed = {key: one for key, one in record.artifacts.items() if key.kind in ("prepare", "train", "evaluate")}
    missing = [key.name for key, artifact in needed.items() if not artifact.is_complete]
    if missing or StageKey("evaluate") not in needed:
        what = ", ".join(missing) or "evaluate"
        raise StoreError(f"the run {path} is not finished, it lacks {what}", "finish it with `hnlm run`")
    return FinishedRun(path, label, record.config["train"]["variants"], needed)


def _check_same_data(first: FinishedRun, other: FinishedRun) -> None:
    """Equal fingerprints say so at once; otherwise (another version, another place) the tables decide."""
    if first.prepare.fingerprint == other.prepare.fingerprint:
        return
    found = [sizes(run) for run in (first, other)]
    if found[0] != found[1]:
        counted = [", ".join(f"{count:,} {name}" for name, count in size.items()) for size in found]
        raise DataError(f"{other.label} has {counted[1]}; {first.label} has {counted[0]}", _SAME)
    for table, columns in (("users", ["user_id"]), ("items", ["item_id"]), ("interactions", _SPLITS)):
        if not _ordered(first, table, columns).equals(_ordered(other, table, columns)):
            raise DataError(f"{other.label} has other {table} than {first.label}, in the same number", _SAME)


def sizes(run: FinishedRun) -> dict[str, int]:
    """Users, items, and interactions of each split."""
    prepare = run.prepare
    splits = prepare.read("interactions", ["split"])["split"].value_counts().to_pylist()
    counted = {row["values"]: row["counts"] for row in splits}
    return {
        "users": prepare.read("users", ["user"]).num_rows,
        "items": prepare.read("items", ["item"]).num_rows,
        **{f"{name} interactions": counted.get(name, 0) for name in SPLITS},
    }


def _ordered(run: FinishedRun, table: str, columns: list[str]) -> pa.Table:
    """The rows of one table in an order that does not depend on how they were written."""
    rows = run.prepare.read(table, columns)
    if table == "interactions":
        rows = rows.sort_by([(name, "ascending") for name in columns])
    return rows.combine_chunks()
