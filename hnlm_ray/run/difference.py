"""What is not the same in two runs: options, stages, and how many rows these have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hnlm_ray.run.dependencies import is_decisive
from hnlm_ray.run.record import RunRecord
from hnlm_ray.run.store import Artifact

__all__ = ["ABSENT", "OptionDifference", "StageDifference", "differing", "option_differences", "shown_value",
           "stage_differences"]  # fmt: skip

ABSENT = object()
"""Stands for an option that one of two runs does not have."""
State = Literal["same", "changed", "only in the first", "only in the second"]


@dataclass(frozen=True)
class OptionDifference:
    """An option with another value.

    Attributes:
        option: its path.
        first: the value in the first run, as shown; "" where it has none.
        second: that in the second.
        decides: whether it decides what a run computes, not merely where and how fast.
    """

    option: str
    first: str
    second: str
    decides: bool


@dataclass(frozen=True)
class StageDifference:
    """A stage of either run.

    Attributes:
        stage: its name.
        state: whether both runs have it with equal fingerprints, and so the same results.
        rows: by table, the rows in the first and in the second run; None where it is not complete.
    """

    stage: str
    state: State
    rows: Mapping[str, tuple[int | None, int | None]]


def option_differences(first: RunRecord, second: RunRecord) -> list[OptionDifference]:
    """The options that differ, in the order of the sections; ``run`` itself is none."""
    return [
        OptionDifference(".".join(path), _or_nothing(here), _or_nothing(there), is_decisive(path))
        for path, here, there in differing(first.config, second.config)
        if path != ("run",)
    ]


def stage_differences(first: RunRecord, second: RunRecord) -> list[StageDifference]:
    """Every stage of either run, in the order in which they run.

    Raises:
        StoreError: a manifest cannot be read.
    """
    found = []
    for key in {**first.artifacts, **second.artifacts}:
        here, there = first.artifacts.get(key), second.artifacts.get(key)
        rows = [_rows(artifact) for artifact in (here, there)]
        tables = {name: (rows[0].get(name), rows[1].get(name)) for name in {**rows[0], **rows[1]}}
        found.append(StageDifference(key.name, _state(here, there), tables))
    return found


def differing(here: Any, there: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Paths of options whose values differ, with both values; of sections with another name, the names."""
    if not (isinstance(here, Mapping) and isinstance(there, Mapping)):
        if here != there:
            yield path, here, there
    elif here.get("name") != there.get("name"):
        yield path, here, there
    else:
        for key in {**here, **there}:
            yield from differing(here.get(key, ABSENT), there.get(key, ABSENT), (*path, key))


def shown_value(value: Any) -> str:
    """The value of an option in a sentence or a cell: of a section its name."""
    if isinstance(value, Mapping):
        return str(value["name"]) if "name" in value else "{...}"
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _or_nothing(value: Any) -> str:
    return "" if value is ABSENT else shown_value(value)


def _state(here: Artifact | None, there: Artifact | None) -> State:
    if here is None:
        return "only in the second"
    if there is None:
        return "only in the first"
    return "same" if here.fingerprint == there.fingerprint else "changed"


def _rows(artifact: Artifact | None) -> Mapping[str, int]:
    return artifact.manifest().rows if artifact is not None and artifact.is_complete else {}
